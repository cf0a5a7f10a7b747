"""The fault matrix's short form: every fault once, each as a test."""

import threading

import pytest

from tests.proofs.faults import plan
from tests.proofs.faults.scenarios import FAULTS

LIMIT = 600  # seconds for all of them; it takes less than 300


class Results:
    """What the lanes have said; a test waits for its own fault."""

    def __init__(self, faults):
        self.by_fault, self.ended = {}, False
        self.changed = threading.Condition()
        self.lanes = threading.Thread(target=self.run, args=[faults], daemon=True)
        self.lanes.start()

    def run(self, faults):
        try:
            plan.run(plan.short(faults), plan.ROWS["short"], plan.LANES, self.take)
        finally:
            with self.changed:
                self.ended = True
                self.changed.notify_all()

    def take(self, result):
        with self.changed:
            self.by_fault[result["fault"]] = result
            self.changed.notify_all()

    def of(self, fault):
        with self.changed:
            self.changed.wait_for(lambda: fault in self.by_fault or self.ended, LIMIT)
            return self.by_fault[fault]


@pytest.fixture(scope="module")
def results(request):
    """Start the faults that were asked for, side by side."""
    items = [item for item in request.session.items if "fault" in item.fixturenames]
    wanted = {item.callspec.params["fault"] for item in items}
    found = Results([fault for fault in FAULTS if fault in wanted])
    yield found
    found.lanes.join(LIMIT)


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_doubled_or_late(fault, results):
    result = results.of(fault)
    if not result["held"]:
        print(result)
        again = [repeated(fault), repeated(fault)]
        assert all(one["held"] for one in again), (result, again)


def repeated(fault):
    """Run one fault alone: what a crowded machine did to it does not come twice."""
    found = []
    plan.run(plan.short([fault]), plan.ROWS["short"], lanes=1, report=found.append)
    return found[0]
