"""The page on reliability names tests and faults that there are."""

import re

from tests.support.fixtures import ROOT


def test_what_the_page_on_reliability_names_exists():
    from tests.proofs.faults.scenarios import FAULTS

    pains = (ROOT / "docs/reliability.md").read_text().partition("What users of other")[2]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", pains)
    assert len(named) >= 10 and all(f"def {name}(" in tests for name in named)
    faults = re.findall(r'"([^"]+)"', pains)
    assert len(faults) >= 8 and set(faults) <= {fault.name for fault in FAULTS.values()}
