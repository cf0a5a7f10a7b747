"""A hundred thousand rows at once, and whether a million need more memory."""

import statistics

from tests.benchmarks import servers
from tests.benchmarks.scales import rows
from tests.benchmarks.systems import SYSTEMS


def bulk(quick):
    """bulk_create and publish_many beside the floor, three rounds in turn, and save()."""
    count, rounds = (1000, 1) if quick else (100_000, 3)
    ours = SYSTEMS["ours"]
    ours.make_tables()
    rates = {"bulk.ours": [], "bulk.floor": [], "saving.saves": []}
    for _ in range(rounds):
        for act, found in rates.items():
            servers.run("TRUNCATE simple_task")
            servers.settle()
            some = count // 20 if act == "saving.saves" else count
            said = ours.act(servers.new_queue(), act, some)
            found.append(said["rows"] / said["seconds"])
    one, floor, saves = (statistics.median(found) for found in rates.values())
    servers.run("TRUNCATE simple_task")
    return {
        "title": f"{count:,} rows at once, rows/s",
        "head": ["way", "rows/s", "times the floor"],
        "lines": [
            ["`bulk_create` and `publish_many`", f"{one:.0f}", f"{one / floor:.2f}"],
            ["floor: `bulk_create` and a prebuilt message", f"{floor:.0f}", "1"],
            ["a loop of `save()`", f"{saves:.0f}", f"{saves / floor:.2f}"],
        ],
        "ratio": one / floor,
    }


def memory(quick):
    """The most memory that publishing a queryset takes, by its length."""
    counts = [1000, 2000] if quick else [10_000, 100_000, 1_000_000]
    lines, peaks = [], []
    for count in counts:
        rows.fill("simple_task", count, rows.READY, "now() + interval '1 hour'")
        said = SYSTEMS["ours"].act(servers.new_queue(), "bulk.publish_queryset")
        assert said["rows"] == count
        peaks.append(said["peak"])
        cells = [f"{said['before']:.0f}", f"{said['peak']:.0f}"]
        lines.append([f"{count:,}", *cells, f"{count / said['seconds']:.0f}"])
    servers.run("TRUNCATE simple_task")
    return {
        "title": "`publish_many(Model.objects.all())`: memory of the process",
        "head": ["rows", "MiB before", "peak MiB", "rows/s"],
        "lines": lines,
        "growth": peaks[-1] / peaks[0],
    }
