"""What is aimed at, and whether this run has met it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Target:
    """``figure`` makes of {name: figures} the number that ``limit`` is about.

    ``best`` makes of them what is reached in the same run by nothing but what cannot be
    left out: of a drain, a Celery task that has two statements and no more.
    """

    text: str
    figure: Callable
    limit: float
    at_least: bool = True
    best: Callable | None = None

    def judge(self, found):
        """Return (text, limit, figure, verdict, the best there is)."""
        sign = "≥" if self.at_least else "≤"
        limit = f"{sign} {self.limit:g}"
        try:
            figure = self.figure(found)
        except KeyError:  # not measured
            return self.text, limit, "–", "not measured", "–"
        met = figure >= self.limit if self.at_least else figure <= self.limit
        verdict = "met" if met else "not met"
        return self.text, limit, f"{figure:.3g}", verdict, self._shown_best(found)

    def _shown_best(self, found):
        try:
            return f"{self.best(found):.3g}" if self.best else "–"
        except KeyError:
            return "–"


def ratio(one, other, figure):
    return lambda found: found[one][figure] / found[other][figure]


def of(name, figure):
    return lambda found: found[name][figure]


def drain(other, limit):
    best = ratio("least", other, "drain")
    return Target(f"drain, times ({other})'s", ratio("ours", other, "drain"), limit, best=best)


TARGETS = [
    drain("a", 1.5),
    drain("b", 5),
    drain("c", 1.3),
    drain("e", 4),
    Target(
        "drain in chunks of 50, times (a)'s",
        ratio("chunk", "a", "drain"),
        3,
        best=lambda found: found["limits"]["statements"] / found["a"]["drain"],
    ),
    Target(
        "Django's Tasks: drain, times (d)'s",
        of("function_tasks", "drain"),
        1.1,
        best=of("function_tasks", "best_drain"),
    ),
    Target(
        "Django's Tasks by two solo workers: drain, times (d)'s",
        of("function_tasks", "solo"),
        1.1,
    ),
    Target("Django's Tasks: latency p50, (d)'s times this", of("function_tasks", "p50"), 50),
    Target(
        "Django's Tasks: enqueue(), times (d)'s",
        of("function_tasks", "enqueue"),
        0.9,
        best=of("function_tasks", "best_enqueue"),
    ),
    Target("latency p50, times (a)'s", ratio("ours", "a", "p50"), 0.9, False),
    Target("latency p50, times (c)'s", ratio("ours", "c", "p50"), 1, False),
    Target(
        "save() with publish, times (a)'s",
        of("saves", "ratio"),
        1.5,
        best=of("saves", "best"),
    ),
    Target("queries a row", of("ours", "queries"), 2.05, False),
    Target("bulk_create and publish_many, times the floor", of("bulk", "ratio"), 0.95),
    Target(
        "memory of a million rows, times that of 10,000",
        of("memory", "growth"),
        1.1,
        False,
    ),
    Target("auto-reset, times (e)'s", of("resets", "ratio"), 20),
    Target("memory of a reset of 1,000 rows of 1 MB, MiB", of("resets", "heavy"), 40, False),
    Target("drain of durable rows, times SimpleTask's", of("durable", "ratio"), 0.85),
    Target("queries a durable row", of("durable", "queries"), 2.05, False),
    Target("rows due at one moment, rows/s", of("due", "rate"), 10_000),
    Target("memory of 100,000 rows due, times that of 10,000", of("due", "growth"), 1.1, False),
    Target(
        "proxy steps, s",
        of("proxies", "seconds"),
        8,
        False,
        best=of("proxies", "by_hand"),
    ),
    Target("proxy steps, MiB", of("proxies", "memory"), 300, False),
    Target("proxy steps, connections", of("proxies", "connections"), 20, False),
    Target("proxy steps by an egress worker, s", of("egress", "seconds"), 8, False),
    Target("other rows meanwhile, times alone", of("egress", "share"), 0.7),
    Target("an egress worker, MiB", of("egress", "memory"), 300, False),
    Target("a million rows, times an empty table", of("aging", "ratio"), 1.2, False),
    Target(
        "the dashboard's slowest read of a million rows, ms",
        of("watching", "slowest"),
        200,
        False,
    ),
    Target("django.setup(), ms", of("imports", "ms"), 15, False),
]
