"""What the dashboard reads of a table that holds a million rows of a month."""

from tests.benchmarks import servers
from tests.benchmarks.scales import rows
from tests.benchmarks.systems import SYSTEMS, NotThere

TABLES = {"simple_watched": "both recommended", "simple_task": "none"}


def watching(quick):
    count = 10_000 if quick else 1_000_000
    SYSTEMS["ours"].make_tables()
    if not servers.ask("SELECT to_regclass('simple_watched')")[0]:
        raise NotThere("SimpleTask has no history_index")
    for table in TABLES:
        age = f"interval '30 days' * ({count} - n) / {count}"
        rows.fill(table, count, rows.DONE, at=f"now() - {age}")
    found = SYSTEMS["ours"].act(servers.new_queue(), "watching.look")
    for table in TABLES:
        servers.run(f"TRUNCATE {table}")
    return {
        "title": f"What the dashboard reads of {count:,} rows that ended within 30 days, "
        "ms (medians)",
        "head": ["indexes", "all reads", "the slowest statement"],
        "lines": [
            [indexes, f"{found[table]['all']:.0f}", f"{found[table]['slowest']:.0f}"]
            for table, indexes in TABLES.items()
        ],
        "slowest": found["simple_watched"]["slowest"],
    }
