"""The page on reliability names tests and faults that there are."""

import re

from tests.proofs import people
from tests.support.fixtures import ROOT


def test_what_the_page_on_reliability_names_exists():
    from tests.proofs.faults.scenarios import FAULTS

    pains = (ROOT / "docs/evidence/reliability.md").read_text().partition("What users of other")[2]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", pains)
    assert len(named) >= 10 and all(f"def {name}(" in tests for name in named)
    faults = re.findall(r'"([^"]+)"', pains)
    assert len(faults) >= 6 and set(faults) <= {fault.name for fault in FAULTS.values()}


def test_the_table_of_people_has_each_case_and_each_has_held():
    page = (ROOT / "docs/evidence/reliability.md").read_text()
    written = page.partition(people.BEGIN)[2].partition(people.END)[0]
    verdicts = re.findall(r"\| (held \(\d+\)) \|$", written, re.M)
    assert people.table(verdicts).splitlines()[2:] == written.splitlines()[2:]
