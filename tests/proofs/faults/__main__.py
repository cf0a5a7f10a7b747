"""``python -m tests.proofs.faults [--long] [--write] [--only FAULT …]``: run the matrix.

Exits 1 if a number that must be 0 is not.
"""

import argparse
import sys
import time

from tests.proofs.faults import plan, report
from tests.proofs.faults.scenarios import FAULTS


def arguments():
    parser = argparse.ArgumentParser("python -m tests.proofs.faults", description=__doc__)
    parser.add_argument("--long", action="store_true", help="every fault on every pair")
    parser.add_argument("--write", action="store_true", help="into docs/evidence/reliability.md")
    parser.add_argument("--only", nargs="+", choices=FAULTS, metavar="FAULT")
    parser.add_argument("--lanes", type=int, default=plan.LANES, help="at a time")
    return parser.parse_args()


def main():
    asked = arguments()
    form = "long" if asked.long else "short"
    planned = getattr(plan, form)(asked.only)
    results = []
    began = time.monotonic()

    def take(result):
        results.append(result)
        print(f"{time.monotonic() - began:4.0f} s  {report.line(result)}", flush=True)
        if not result["held"]:
            print(report.details(result), file=sys.stderr, flush=True)

    plan.run(planned, plan.ROWS[form], asked.lanes, take)
    _, _, missing = plan.there()
    command = "python -m tests.proofs.faults" + " --long" * asked.long
    print("\n" + report.text(results, missing, command))
    if asked.write:
        report.write(results, missing, command)
    return int(not all(result["held"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
