"""Auto-reset of rows whose lease is over, beside the original's loop."""

import statistics

from tests.benchmarks import servers
from tests.benchmarks.scales import rows
from tests.benchmarks.systems import SYSTEMS

#: The age of the oldest transaction that holds locks for writing.
LOCKED = (
    "SELECT max(extract(epoch FROM clock_timestamp() - a.xact_start)) "
    "FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE l.granted "
    "AND l.mode = 'RowExclusiveLock' AND a.application_name = %s"
)


#: The original's rate does not depend on their number; its patience would.
ROWS = {"ours": 100_000, "e": 10_000}


def resets(quick):
    rounds = 1 if quick else 3
    runs = {name: [] for name in ROWS}
    for _ in range(rounds):
        for name, count in ROWS.items():
            runs[name].append(reset(name, count // 100 if quick else count))
    lines, rates = [], {}
    for name, found in runs.items():
        rates[name] = statistics.median(one["rate"] for one in found)
        peak, lock = (max(one[what] for one in found) for what in ("peak", "lock"))
        cells = [f"{rates[name]:.0f}", f"{peak:.0f}", f"{lock:.2f}"]
        lines.append([SYSTEMS[name].title, f"{found[0]['rows']:,}", *cells])
    heavy = reset_heavy(50 if quick else 1000)
    rate = f"{heavy['rows'] / heavy['seconds']:.0f}"
    title = f"{SYSTEMS['ours'].title}, rows of 1 MB"
    lines.append([title, f"{heavy['rows']:,}", rate, f"{heavy['peak']:.0f}", "–"])
    lines.append(messages_alone(quick))
    servers.run("TRUNCATE simple_task")
    return {
        "title": f"`Model.do_auto_reset()` of rows whose lease is over (medians of {rounds})",
        "head": ["system", "rows", "rows/s", "peak MiB", "longest lock, s"],
        "lines": lines,
        "ratio": rates["ours"] / rates["e"],
        "heavy": heavy["peak"] - heavy["before"],
    }


def reset(name, count):
    rows.fill("simple_task", count, rows.DOING, "now() - interval '1 hour'")
    with servers.Most(LOCKED, "bench-resets", 0.01) as locks:
        said = SYSTEMS[name].act(servers.new_queue(), "resetting.reset", PGAPPNAME="bench-resets")
    assert said["rows"] == count, said
    return {**said, "rate": count / said["seconds"], "lock": locks.most}


def reset_heavy(count):
    """Reset rows that carry a megabyte each, which no reset needs to read."""
    rows.fill("simple_heavy", count, rows.DOING, "now() - interval '1 hour'")
    servers.run("UPDATE simple_heavy SET payload = repeat(md5(name), 32768)")
    said = SYSTEMS["ours"].act(servers.new_queue(), "resetting.reset_heavy")
    servers.run("TRUNCATE simple_heavy")
    assert said["rows"] == count, said
    return said


def messages_alone(quick):
    """What no reset that publishes each row gets below."""
    count = 1000 if quick else 100_000
    rows.fill("simple_task", count, rows.READY)
    said = SYSTEMS["ours"].act(servers.new_queue(), "bulk.publish_queryset")
    rate = f"{said['rows'] / said['seconds']:.0f}"
    return ["the messages of ours alone", f"{count:,}", rate, f"{said['peak']:.0f}", "–"]
