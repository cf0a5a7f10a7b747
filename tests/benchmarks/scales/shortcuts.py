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
    base, *others = (_without(name) for name in ["none", *without.NAMES])
    base.make_tables()
    _figures(base, count)  # what begins cold is measured for nobody
    with_all, shares = [], {one.title: [] for one in others}
    for number in range(rounds):
        for one in others:
            # Each beside its own run of all, first or second in turn: a machine drifts.
            pair = (base, one) if number % 2 == 0 else (one, base)
            found = {system.title: _figures(system, count) for system in pair}
            whole = found[base.title]
            with_all.append(whole)
            part = found[one.title]
            shares[one.title].append([a / b for a, b in zip(part, whole, strict=True)])
    rates = _medians(with_all)
    lines = [["with all", *(f"{rate:.0f}" for rate in rates)]]
    lines[0][1 + HEAD.index("p50")] = f"{rates[HEAD.index('p50')]:.1f} ms"
    for title, of_pairs in shares.items():
        lines.append([title, *(f"× {share:.2f}" for share in _medians(of_pairs))])
    return {
        "title": f"What each shortcut is worth, rows/s (medians of {rounds} pairs)",
        "head": ["ours", *HEAD],
        "lines": lines,
    }


def _medians(results):
    return [statistics.median(column) for column in zip(*results, strict=True)]


def _without(name):
    ours = SYSTEMS["ours"]
    environment = {**ours.environment, **(without.environ(name) if name != "none" else {})}
    return replace(ours, title=f"without {name}", environment=environment)


def _figures(system, count):
    drained = measure(system, count, 40, 4)
    servers.run("TRUNCATE simple_task")
    bulk = system.act(servers.new_queue(), "bulk.ours", count * 10)
    # As many as the figure of auto-reset has: its first page is the slowest.
    rows.fill("simple_task", count * 100, rows.DOING, "now() - interval '1 hour'")
    reset = system.act(servers.new_queue(), "resetting.reset")
    servers.run("TRUNCATE simple_task")
    rates = [one["rows"] / one["seconds"] for one in (bulk, reset)]
    return [drained["enqueue"], rates[0], drained["drain"], drained["p50"], rates[1]]
