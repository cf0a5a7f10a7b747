"""Durable rows: a drain beside SimpleTask's, and many rows that are due at one moment."""

import statistics
from dataclasses import replace

from tests.benchmarks import servers
from tests.benchmarks.scales import rows
from tests.benchmarks.systems import SYSTEMS, measure

#: {model: what the table calls it}
MODELS = {
    "Task": "`SimpleTask`",
    "Durable": "`DurableTask`",
    "Atomic": "`DurableTask`, `resume` and `atomic_steps`",
}
FIGURES = ("drain", "queries", "cpu")


def durable(quick):
    """Drain rows of one step of each model, in turn."""
    count, rounds = (200, 1) if quick else (1000, 7)
    systems = {model: _system(model) for model in MODELS}
    systems["Task"].make_tables()
    found = {model: [] for model in MODELS}
    for number in range(rounds):
        # From the other end every other round: nobody is always first.
        for model in list(MODELS) if number % 2 == 0 else reversed(MODELS):
            found[model].append(measure(systems[model], count, 0, 0))
    drains = {model: _median(results, "drain") for model, results in found.items()}
    shares = {model: rate / drains["Task"] for model, rate in drains.items()}
    return {
        "title": f"{count:,} rows of one step by `DurableTask` (medians of {rounds})",
        "head": [
            "model",
            "drain, rows/s",
            "times",
            "queries a row",
            "CPU s, 1,000 rows",
        ],
        "lines": [_line(model, found[model], shares[model]) for model in MODELS],
        "ratio": shares["Durable"],
        "queries": _median(found["Durable"], "queries"),
    }


def _system(model):
    ours = SYSTEMS["ours"]
    environment = {**ours.environment, "BENCH_MODEL": model}
    return replace(
        ours, title=MODELS[model], table=f"simple_{model.lower()}", environment=environment, pause=0
    )


def _line(model, results, share):
    drain, queries, cpu = (_median(results, figure) for figure in FIGURES)
    return [
        MODELS[model],
        f"{drain:.0f}",
        f"{share:.2f}",
        f"{queries:.1f}",
        f"{cpu:.2f}",
    ]


def _median(results, figure):
    return statistics.median(one[figure] for one in results)


def due(quick):
    """Publish rows that the rows alone have kept until one moment, by ``do_auto_reset()``."""
    counts, rounds = ((500, 1000), 1) if quick else ((10_000, 100_000), 3)
    runs = {count: [_publish(count) for _ in range(rounds)] for count in counts}
    few, many = counts
    rates = {
        count: statistics.median(one["rows"] / one["seconds"] for one in found)
        for count, found in runs.items()
    }
    peaks = {count: max(one["peak"] for one in found) for count, found in runs.items()}
    servers.run("TRUNCATE simple_durable")
    return {
        "title": f"`do_auto_reset()` of rows that are due at one moment (medians of {rounds})",
        "head": ["rows", "rows/s", "MiB before", "peak MiB"],
        "lines": [
            [
                f"{count:,}",
                f"{rates[count]:.0f}",
                f"{found[0]['before']:.0f}",
                f"{peaks[count]:.0f}",
            ]
            for count, found in runs.items()
        ],
        "rate": rates[many],
        "growth": peaks[many] / peaks[few],
    }


def _publish(count):
    at = "now() - interval '1 second'"
    rows.fill("simple_durable", count, rows.READY, at, run_after=at)
    said = SYSTEMS["ours"].act(servers.new_queue(), "resetting.publish_due")
    assert said["rows"] == count, said
    return said
