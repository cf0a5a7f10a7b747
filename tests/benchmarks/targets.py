"""What is aimed at, and whether this run has met it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Target:
    """``figure`` makes of {name: figures} the number that ``limit`` is about."""

    text: str
    figure: Callable
    limit: float
    at_least: bool = True

    def judge(self, found):
        """Return (text, limit, figure, verdict)."""
        sign = "≥" if self.at_least else "≤"
        limit = f"{sign} {self.limit:g}"
        try:
            figure = self.figure(found)
        except KeyError:  # not measured
            return self.text, limit, "–", "not measured"
        met = figure >= self.limit if self.at_least else figure <= self.limit
        return self.text, limit, f"{figure:.3g}", "met" if met else "not met"


def ratio(one, other, figure):
    return lambda found: found[one][figure] / found[other][figure]


def of(name, figure):
    return lambda found: found[name][figure]


TARGETS = [
    Target("drain, times (a)'s", ratio("ours", "a", "drain"), 1.5),
    Target("drain, times (b)'s", ratio("ours", "b", "drain"), 5),
    Target("drain, times (c)'s", ratio("ours", "c", "drain"), 1.3),
    Target("drain, times (e)'s", ratio("ours", "e", "drain"), 4),
    Target("drain in chunks of 50, times (a)'s", ratio("chunk", "a", "drain"), 3),
    Target("latency p50, times (a)'s", ratio("ours", "a", "p50"), 0.9, False),
    Target("latency p50, times (c)'s", ratio("ours", "c", "p50"), 1, False),
    Target("save() with publish, times (a)'s", of("saves", "ratio"), 1.5),
    Target("queries a row", of("ours", "queries"), 2.05, False),
    Target("bulk_create and publish_many, times the floor", of("bulk", "ratio"), 0.95),
    Target(
        "memory of a million rows, times that of 10,000",
        of("memory", "growth"),
        1.1,
        False,
    ),
    Target("auto-reset, times (e)'s", of("resets", "ratio"), 20),
    Target("proxy steps, s", of("proxies", "seconds"), 8, False),
    Target("proxy steps, MiB", of("proxies", "memory"), 300, False),
    Target("proxy steps, connections", of("proxies", "connections"), 20, False),
    Target("a million rows, times an empty table", of("aging", "ratio"), 1.2, False),
    Target(
        "the dashboard's slowest read of a million rows, ms",
        of("watching", "slowest"),
        200,
        False,
    ),
    Target("django.setup(), ms", of("imports", "ms"), 15, False),
]
