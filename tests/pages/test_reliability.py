"""The page on reliability names tests and faults that there are; its commands do as it says."""

import re
import sys
from itertools import product

import pytest

from tests.proofs import people
from tests.proofs.faults import __main__ as faults
from tests.proofs.faults import plan, report, servers
from tests.proofs.faults.scenarios import FAULTS
from tests.support.fixtures import ROOT

PAGE = ROOT / "docs/evidence/reliability.md"
HELD = {"pair": ("valkey", "sqlite"), "rows": 9, "runs": 9, "lost": [], "twice": [], "late": []}


def test_what_the_page_on_reliability_names_exists():
    pains = PAGE.read_text().partition("What users of other")[2]
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", pains)
    assert len(named) >= 10 and all(f"def {name}(" in tests for name in named)
    befell = re.findall(r'"([^"]+)"', pains)
    assert len(befell) >= 6 and set(befell) <= {fault.name for fault in FAULTS.values()}


def test_the_table_of_people_has_each_case_and_each_has_held():
    written = PAGE.read_text().partition(people.BEGIN)[2].partition(people.END)[0]
    verdicts = re.findall(r"\| (held \(\d+\)) \|$", written, re.M)
    assert people.table(verdicts).splitlines()[2:] == written.splitlines()[2:]


def test_the_table_of_people_names_tests_that_there_are():
    named = [pair for case in people.CASES for pair in case.tests.items()]
    texts = {file: (ROOT / "tests" / file).read_text() for file, _ in named}
    missing = [n for file, names in named for n in names if f"def {n}(" not in texts[file]]
    assert missing == []


# -- python -m tests.proofs.faults -----------------------------------------------------------


def test_the_short_form_meets_each_fault_once_and_the_long_one_on_each_pair():
    brokers, databases, _ = plan.there()
    short = [fault for mine in plan.short().values() for fault in mine]
    assert sorted(short) == sorted(FAULTS)
    long = {(pair, fault) for pair, mine in plan.long().items() for fault in mine}
    every = product(product(brokers, databases), FAULTS)
    not_of_sqlite = {name for name, fault in FAULTS.items() if fault.needs_server}
    assert long == {one for one in every if one[0][1] != "sqlite" or one[1] not in not_of_sqlite}


def test_what_is_not_installed_is_left_out_and_named(monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setattr(servers, "on_path", lambda *programs: None)
    brokers, databases, missing = plan.there()
    assert (brokers, databases) == (["valkey"], ["postgresql", "sqlite"])
    assert set(missing) == {"rabbitmq", "mariadb"}


@pytest.mark.parametrize(
    ("fault", "result", "verdict"),
    [
        ("beat_killed", {}, "held"),
        ("beat_killed", {"restarted": 2}, "held (2 started again)"),
        ("beat_killed", {"lost": ["a:1"]}, "1 lost"),
        ("beat_killed", {"twice": ["a:1", "a:2"], "late": ["a:3"]}, "2 twice; 1 late"),
        ("beat_killed", {"runs": 11}, "2 repeated"),
        ("child_killed", {"runs": 11}, "held"),  # it hurts runs, which are repeated
        ("broker_frozen", {"save": 3.1}, "a save took 3.1 s"),
        ("beat_killed", {"save": 3.1}, "held"),  # the broker is there
        ("beat_killed", {"broken": "…\nTimeoutError: 9 s"}, "no result: TimeoutError: 9 s"),
    ],
)
def test_the_verdict_says_what_has_not_held(fault, result, verdict):
    judged = plan.judged({**HELD, "fault": fault, **result})
    assert judged["verdict"] == verdict
    assert judged["held"] == verdict.startswith("held")


@pytest.mark.parametrize(("lost", "code"), [([], 0), (["shop.job:1"], 1)])
def test_the_matrix_says_by_its_exit_code_whether_all_held_and_writes_it(
    monkeypatch, tmp_path, lost, code
):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "DOCUMENT", page)

    def run(planned, rows, lanes, take):
        for fault in ("beat_killed", "two_beats"):
            take(plan.judged({**HELD, "fault": fault, "lost": lost}))

    monkeypatch.setattr(plan, "run", run)
    monkeypatch.setattr(sys, "argv", ["faults", "--write"])
    assert faults.main() == code
    before, written, after = re.split("<!-- faults: .* -->", page.read_text())
    assert (before, after) == ("before\n", "\nafter\n")
    verdicts = re.findall(r"^\| (?:beat|two).* \| (.*) \|$", written, re.M)
    assert verdicts == (["1 lost"] * 2 if lost else ["held"] * 2)
    assert f"{0 if lost else 2} of 2 held" in written and "old" not in written


# -- python -m tests.proofs.people -------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "verdict", "code"),
    [
        ("test_a_migration_can_hold_it", "held (1)", 0),
        ("test_that_is_not_there", "FAILED: 1 of 1", 1),
    ],
)
def test_the_cases_of_people_are_run_and_their_table_is_written(
    monkeypatch, tmp_path, name, verdict, code
):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{people.BEGIN}old\n{people.END}\nafter\n")
    case = people.Case("a case", "elsewhere", "a thread", {"unit/test_index.py": [name]})
    monkeypatch.setattr(people, "CASES", [case])
    monkeypatch.setattr(people, "PAGE", page)
    monkeypatch.setattr(sys, "argv", ["people", "--write"])
    with pytest.raises(SystemExit) as ended:
        people.main()
    assert int(ended.value.code) == code
    row = f"| a case | elsewhere | a thread | `{name}` | {verdict} |\n"
    assert page.read_text().endswith(f"{row}{people.END}\nafter\n")
