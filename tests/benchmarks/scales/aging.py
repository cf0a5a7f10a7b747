"""A table that holds a million rows that are DONE, beside an empty one."""

from tests.benchmarks import servers
from tests.benchmarks.scales import rows
from tests.benchmarks.systems import SYSTEMS, NotThere


def aging(quick):
    count = 10_000 if quick else 1_000_000
    SYSTEMS["ours"].make_tables()
    if not servers.ask("SELECT to_regclass('simple_full')")[0]:
        raise NotThere("SimpleTask has no auto_reset_index")
    rows.fill("simple_full", count, rows.DONE)
    found = SYSTEMS["ours"].act(servers.new_queue(), "aging.compare")
    servers.run("TRUNCATE simple_full")
    ratios = {what: one["full"] / one["empty"] for what, one in found.items()}
    return {
        "title": f"A table with an index and {count:,} rows that are DONE beside an empty "
        "one (medians)",
        "head": ["what", "full, ms", "empty, ms", "ratio"],
        "lines": [
            [what, f"{one['full']:.2f}", f"{one['empty']:.2f}", f"{ratios[what]:.2f}"]
            for what, one in found.items()
        ],
        "ratio": max(ratios.values()),
    }
