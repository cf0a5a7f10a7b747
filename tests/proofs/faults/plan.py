"""Which fault meets which pair, and the lanes, one a pair, that run them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.proofs.faults.scenarios import FAULTS
from tests.proofs.faults.servers import BROKERS, DATABASES

ROOT = Path(__file__).parents[3]
IN_CI = {"valkey", "postgresql", "sqlite"}
ROWS = {"short": 40, "long": 80}
#: A save waits 1.5 s for a broker at most; the rest is for a machine that is busy.
LONGEST_SAVE = 3.0


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
        (broker, database): [
            fault for fault in faults or FAULTS if fits(fault, (broker, database))
        ]
        for database in databases
        for broker in brokers
    }


def run(plan, rows, lanes, report):
    """Run the plan, ``lanes`` pairs at a time; ``report`` gets each result."""
    with ThreadPoolExecutor(lanes) as pool:
        for done in [pool.submit(run_pair, *item, rows, report) for item in plan.items()]:
            done.result()


def run_pair(pair, faults, rows, report):
    """Run the faults of a pair; a lane that ends early is started again without one."""
    left = list(faults)
    while left:
        for result in lane(pair, left, rows):
            left.remove(result["fault"])
            report(result)
        if left:
            broken = {"fault": left.pop(0), "broken": "the lane ended in it"}
            report(judged({"pair": pair, **broken}))


def lane(pair, faults, rows):
    """Yield the results of one lane's process."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    command = [
        sys.executable,
        "-m",
        "tests.proofs.faults.lane",
        *pair,
        folder,
        rows,
        *faults,
    ]
    failed = False
    with subprocess.Popen(
        list(map(str, command)), cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        versions = []
        for line in process.stdout:
            said = json.loads(line)
            versions = said.get("versions", versions)
            if "fault" in said:
                result = judged({"pair": pair, "versions": versions, **said})
                failed = failed or not result["held"]
                yield result
    if failed or process.returncode:
        print(f"What the processes said is in {folder}", file=sys.stderr)
    else:
        time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)


def judged(result):
    """Add whether all held, and the verdict in words."""
    wrong = []
    for what in ("lost", "twice", "late"):
        if names := result.get(what):
            wrong.append(f"{len(names)} {what}")
    fault = FAULTS[result["fault"]]
    if fault.once and (again := result.get("runs", 0) - result.get("rows", 0)) > 0:
        wrong.append(f"{again} repeated")
    if "broken" in result:
        wrong.append("no result: " + result["broken"].strip().splitlines()[-1])
    if fault.broker_away and result.get("save", 0) > LONGEST_SAVE:
        wrong.append(f"a save took {result['save']} s")
    verdict = "; ".join(wrong) or "held"
    if again := result.get("restarted"):
        verdict += f" ({again} started again)"
    return {**result, "held": not wrong, "verdict": verdict}
