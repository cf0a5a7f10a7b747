"""What each shortcut is worth: the same rows without it, in turn."""

import statistics
from dataclasses import replace

from tests.benchmarks import servers, without
from tests.benchmarks.scales import rows
from tests.benchmarks.systems import SYSTEMS, measure

HEAD = ["save()", "publish_many", "drain", "p50", "reset"]


def shortcuts(quick):
    """Measure ours with all shortcuts, without each, and without all."""
    count, rounds = (100, 1) if quick else (1000, 3)
    systems = {name: _without(name) for name in ["none", *without.NAMES]}
    systems["none"].make_tables()
    figures = {name: [] for name in systems}
    for number in range(rounds):
        # From the other end every other round: nobody is always first.
        for name in systems if number % 2 == 0 else reversed(systems):
            figures[name].append(_figures(systems[name], count))
    medians = {
        name: [statistics.median(one[at] for one in of_name) for at in range(len(HEAD))]
        for name, of_name in figures.items()
    }
    base = medians.pop("none")
    lines = [["with all", f"{base[0]:.0f}", f"{base[1]:.0f}", f"{base[2]:.0f}"]]
    lines[0] += [f"{base[3]:.1f} ms", f"{base[4]:.0f}"]
    for name, found in medians.items():
        shares = [f"× {one / whole:.2f}" for one, whole in zip(found, base, strict=True)]
        lines.append([f"without {name}", *shares])
    return {
        "title": f"What each shortcut is worth, rows/s (medians of {rounds})",
        "head": ["ours", *HEAD],
        "lines": lines,
    }


def _without(name):
    ours = SYSTEMS["ours"]
    environment = {**ours.environment, **(without.environ(name) if name != "none" else {})}
    return replace(ours, title=f"without {name}", environment=environment)


def _figures(system, count):
    drained = measure(system, count, 40, 4)
    servers.run("TRUNCATE simple_task")
    bulk = system.act(servers.new_queue(), "bulk.ours", count * 10)
    rows.fill("simple_task", count * 10, rows.DOING, "now() - interval '1 hour'")
    reset = system.act(servers.new_queue(), "resetting.reset")
    servers.run("TRUNCATE simple_task")
    rates = [one["rows"] / one["seconds"] for one in (bulk, reset)]
    return [drained["enqueue"], rates[0], drained["drain"], drained["p50"], rates[1]]
