"""Which fault meets which pair, and the lanes that run them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.proofs.faults.scenarios import FAULTS
from tests.proofs.faults.servers import BROKERS, DATABASES

ROOT = Path(__file__).parents[3]
IN_CI = {"valkey", "postgresql", "sqlite"}
ROWS = {"short": 40, "long": 80}
#: How many at a time: a lane waits for leases and servers most of its time.
LANES = 6
#: A save waits 1.2 s for a broker at most; the rest is for a machine that is busy.
LONGEST_SAVE = 3.0
#: What must be 0 of each result.
ZERO = ("lost", "twice", "late", "doubled", "missing")


def there():
    """Return the brokers and the databases that this machine can start, and who is not."""
    missing = {
        name: reason
        for name, kind in {**BROKERS, **DATABASES}.items()
        if (reason := kind.why_not())
    }
    if os.environ.get("CI") and (absent := IN_CI & missing.keys()):
        sys.exit(f"CI has to have {', '.join(sorted(absent))}: {missing}")
    brokers = [name for name in BROKERS if name not in missing]
    databases = [name for name in DATABASES if name not in missing]
    return brokers, databases, missing


def fits(fault, pair):
    return pair[1] != "sqlite" or not FAULTS[fault].needs_server


def short(faults=None):
    """Return {pair: faults}: every fault once, every broker and database met."""
    brokers, databases, _ = there()
    pairs = [(brokers[i % len(brokers)], name) for i, name in enumerate(databases)]
    plan = {pair: [] for pair in pairs}
    for fault in faults or FAULTS:
        fitting = [pair for pair in pairs if fits(fault, pair)]
        plan[min(fitting, key=lambda pair: len(plan[pair]))].append(fault)
    return {pair: mine for pair, mine in plan.items() if mine}


def long(faults=None):
    """Return {pair: faults}: every fault on every pair."""
    brokers, databases, _ = there()
    return {
        (broker, database): [fault for fault in faults or FAULTS if fits(fault, (broker, database))]
        for database in databases
        for broker in brokers
    }


def run(plan, rows, lanes, report):
    """Run the plan in so many lanes at a time; ``report`` gets each result.

    Lanes of one pair take its faults from one iterator: who is free has the next.
    """
    each = max(1, lanes // len(plan))
    jobs = [(pair, iter(faults)) for pair, faults in plan.items()] * each
    with ThreadPoolExecutor(lanes) as pool:
        for done in [pool.submit(run_lane, *job, rows, report) for job in jobs]:
            done.result()


def run_lane(pair, left, rows, report):
    """Run the faults that are left; a lane that ends in one is started again."""
    lane = None
    for fault in left:
        lane = lane or Lane(pair, rows)
        if said := lane.run(fault):
            report(said)
        else:
            broken = {"fault": fault, "broken": "the lane ended in it"}
            report(judged({"pair": pair, **broken}))
            lane.end()
            lane = None
    if lane:
        lane.end()


class Lane:
    """A process that has a pair's servers, and runs faults on them one by one."""

    def __init__(self, pair, rows):
        self.pair, self.versions, self.failed = pair, [], False
        self.folder = Path(tempfile.mkdtemp(prefix="faults-"))
        command = [sys.executable, "-m", "tests.proofs.faults.lane", *pair]
        self.process = subprocess.Popen(
            [*command, str(self.folder), str(rows)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, fault):
        """Return the fault's result, or None if the process has ended instead."""
        with suppress(BrokenPipeError):
            print(fault, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            said = json.loads(line)
            self.versions = said.get("versions", self.versions)
            if "fault" in said:
                result = judged({"pair": self.pair, "versions": self.versions, **said})
                self.failed = self.failed or not result["held"]
                return result
        return None

    def end(self):
        """Let the process stop its servers; keep its folder only if something failed."""
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        if self.process.wait() or self.failed:
            print(f"What the processes said is in {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def judged(result):
    """Add whether all held, and the verdict in words."""
    wrong = []
    for what in ZERO:
        if names := result.get(what):
            wrong.append(f"{len(names)} {what}")
    fault = FAULTS[result["fault"]]
    again = result.get("runs", 0) - result.get("rows", 0) - result.get("retries", 0)
    if fault.once and again > 0:
        wrong.append(f"{again} repeated")
    if result.get("effects") == 0:
        wrong.append("no effects")
    if "broken" in result:
        wrong.append("no result: " + result["broken"].strip().splitlines()[-1])
    if fault.broker_away and result.get("save", 0) > LONGEST_SAVE:
        wrong.append(f"a save took {result['save']} s")
    verdict = "; ".join(wrong) or "held"
    if started := result.get("restarted"):
        verdict += f" ({started} started again)"
    return {**result, "held": not wrong, "verdict": verdict}
