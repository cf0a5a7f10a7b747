"""save() that publishes, beside save() and delay() by hand and the drivers alone."""

import os
import statistics

from tests.benchmarks import servers
from tests.benchmarks.systems import SYSTEMS

#: name of the way: (whose project, the act, what the table calls it)
WAYS = {
    "ours": ("ours", "saving.saves", "`save()`"),
    "a": ("a", "saving.saves", "(a) `save()` and `delay()`"),
    "limit": (
        "ours",
        "limits.saves",
        "an INSERT by psycopg and a push by redis: the limit",
    ),
}


def saves(quick):
    """Compare them in many short rounds: a disk is not the same from second to second."""
    count, rounds = (100, 2) if quick else (1000, 9)
    ways = dict(WAYS)
    if not os.environ["TEST_BROKER_URL"].startswith("redis"):
        del ways["limit"]
    rates = {way: [] for way in ways}
    queues = {way: servers.new_queue() for way in ways}
    for system, _, _ in ways.values():
        SYSTEMS[system].make_tables()
    for _ in range(rounds):
        for way, (system, act, _) in ways.items():
            servers.run(f"TRUNCATE {SYSTEMS[system].table}")
            said = SYSTEMS[system].act(queues[way], act, count)
            rates[way].append(said["rows"] / said["seconds"])
    medians = {way: statistics.median(found) for way, found in rates.items()}
    found = {"best": medians["limit"] / medians["a"]} if "limit" in medians else {}
    return {
        "title": f"Rows saved and published one by one (medians of {rounds})",
        "head": ["way", "rows/s", "times (a)"],
        "lines": [
            [ways[way][2], f"{rate:.0f}", f"{rate / medians['a']:.2f}"]
            for way, rate in medians.items()
        ],
        "ratio": medians["ours"] / medians["a"],
        **found,
    }
