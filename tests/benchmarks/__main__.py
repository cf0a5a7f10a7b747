"""``python -m tests.benchmarks``: measure, and with ``--write`` put it into the documents."""

import argparse
import os
import signal
import sys

from tests.benchmarks import report, rounds, servers, without
from tests.benchmarks.scales import SCALES
from tests.benchmarks.systems import SYSTEMS


def arguments():
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="alternated; medians count")
    parser.add_argument("--rows", type=int, default=4000, help="of a drain")
    parser.add_argument("--quick", action="store_true", help="one small round")
    parser.add_argument("--write", action="store_true", help="into docs/evidence/performance.md")
    names = [*SYSTEMS, *SCALES]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=str(names)
    )
    parser.add_argument(
        "--without", nargs="+", choices=without.NAMES, default=[], help="shortcuts of ours"
    )
    return parser.parse_args()


def main():
    asked = arguments()
    os.environ.update(without.environ(*asked.without))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and stop what runs
    if asked.quick:
        asked.rounds, asked.rows = 1, min(asked.rows, 200)
    servers.start()
    try:
        systems = [SYSTEMS[name] for name in SYSTEMS if name in asked.only]
        results = rounds.run(systems, asked.rounds, asked.rows, asked.quick)
        scales = {
            name: rounds.attempt(SCALES[name], asked.quick) for name in SCALES if name in asked.only
        }
        command = " ".join(["python -m tests.benchmarks", *sys.argv[1:]])
        text = report.text(results, scales, servers.versions(), command)
    finally:
        servers.drop()
    print("\n" + text)
    if asked.write and set(asked.only) <= {*SCALES}:
        report.write_scales(scales, command)
    elif asked.write:
        report.write(text, results)
    failed = [one for one in (*results.values(), *scales.values()) if "failed" in one]
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
