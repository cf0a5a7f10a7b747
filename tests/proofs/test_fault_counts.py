"""What the fault matrix counts is what has happened: of ledgers and rows that are made up."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.proofs.faults.rig import Rig
from tests.support.fixtures import ROOT, wait_until

BEGAN = 1_700_000_000  # of the first claim; the lease lasts 4 s
NAME = "shop.job:1"
#: A lane's databases and triggers, on which each case is counted.
PROGRAM = """
import json, sys
from types import SimpleNamespace
from tests.proofs.faults import lane

lane.set_up(sys.argv[1], SimpleNamespace(url="amqp://nobody"), SimpleNamespace(url="sqlite"))
from tests.proofs.faults.count import count
from tests.proofs.faults.shop.models import Job, Ledger

counted = {}
for name, told in json.load(sys.stdin).items():
    lane.clear(SimpleNamespace(flush=lambda: None))
    for line in told["ledger"]:
        Ledger.objects.create(**line)
    for row in told["rows"]:
        Job.objects.bulk_create([Job(**row)])
    for mark in told["marks"]:
        Job.objects.update(mark=mark)
    counted[name] = count()
print(json.dumps(counted))
"""


def token(at=0):
    return datetime.fromtimestamp(BEGAN + at, UTC).isoformat()


def step(at=0, seconds=1, completed=True, process=1):
    """Return the ledger's line of a run that began ``at`` a second of the case."""
    times = {"claimed": BEGAN + at, "began": BEGAN + at, "seen": BEGAN + at + seconds}
    whose = {"row": NAME, "token": token(at), "process": process}
    return {"what": "step", "step": 1, "ended": True, "completed": completed, **times, **whose}


def act(what, at=0, seconds=0):
    """Return the ledger's line of the app, or of the operator."""
    return {"what": what, "row": NAME, "began": BEGAN + at, "seen": BEGAN + at + seconds}


def case(*ledger, marks=(), rows=1, **row):
    row = {"pk": 1, "status": 30, "success": True, "start_time": token(), **row}
    return {"ledger": [act("created", seconds=0.3), *ledger], "rows": [row] * rows, "marks": marks}


READY = {"status": 10, "success": None, "start_time": None}
DOING = {"status": 20, "success": None}
#: {what has happened: (the case, the numbers that are not as of one row that ran once)}
CASES = {
    "it ran once": (case(step()), {}),
    "it took long to save": (case(step(), act("created", seconds=2.5)), {"save": 2.5}),
    "nobody has run it": (case(**READY), {"runs": 0, "lost": [NAME]}),
    "its run is not over": (case(step(completed=False), **DOING), {"lost": [NAME]}),
    "its run is over, the row is not": (case(step(), **DOING), {"lost": [NAME]}),
    "it is DONE by a run that did not complete": (case(step(completed=False)), {"lost": [NAME]}),
    "it has failed": (case(step(), success=False), {"lost": [NAME]}),
    "it is gone": (case(step(), rows=0), {"lost": [NAME]}),
    "the operator has deleted it": (case(step(), act("deleted"), rows=0), {}),
    "it came back": (case(step(), act("deleted")), {"late": [NAME]}),
    "the operator has ended it": (case(step(completed=False), act("done"), success=None), {}),
    "two ran it at once": (case(step(), step(0.5, process=2)), {"runs": 2, "twice": [NAME]}),
    "one ran it after the other": (case(step(), step(1.5, process=2)), {"runs": 2}),
    "another ran it when the lease was over": (case(step(0, 9), step(4.5)), {"runs": 2}),
    "another ran it within the lease": (case(step(0, 9), step(3)), {"runs": 2, "twice": [NAME]}),
    "another ran it after a reset": (case(step(0, 3), act("reset", 1), step(2)), {"runs": 2}),
    "another ran it before a reset": (
        case(step(0, 3), step(1), act("reset", 2)),
        {"runs": 2, "twice": [NAME]},
    ),
    "its own run wrote to it": (
        case(step(completed=False), marks=[f"{token()} 1"], **DOING),
        {"lost": [NAME]},
    ),
    "a run wrote to it whose claim was lost": (
        case(step(), step(5), marks=[f"{token()} 1"], start_time=token(5), status=20),
        {"runs": 2, "lost": [NAME], "late": [f"{NAME} {token()} 1"]},
    ),
    "a run wrote to it that was over": (
        case(step(), marks=[f"{token()} 1"]),
        {"late": [f"{NAME} {token()} 1"]},
    ),
}


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """What the matrix counts in each case; in one process, which has its own settings."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path_factory.mktemp("counts"))],
        cwd=ROOT,
        input=json.dumps({name: told for name, (told, _) in CASES.items()}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CASES)
def test_what_has_happened_is_counted(counted, name):
    _, other = CASES[name]
    once = {"rows": 1, "runs": 1, "lost": [], "twice": [], "late": [], "save": 0.3}
    durable = {"effects": 0, "doubled": [], "missing": [], "retries": 0}  # none is here
    assert counted[name] == {**once, **durable, **other}


def test_a_worker_that_ends_by_itself_is_started_again_and_counted(tmp_path):
    rig = Rig(None, None, tmp_path, 0)
    try:
        for role in ("worker", "app"):
            ended = rig._run(role, "this", ENDS="by itself")
            wait_until(lambda one=ended: one.poll() is not None, what=role)
        rig.supervise()
        assert [one.role for one in rig.processes] == ["worker", "app", "worker"]
        assert rig.restarted == 1
    finally:
        rig.stop()
