"""How long the figures of a table take, in all and the slowest statement of them."""

import statistics
import time

from django.db import connection

from simpletask2_celery.watching import figures
from tests.benchmarks.simple import models

CALLS = 7


def look():
    """Return {table: {"all": ms, "slowest": ms}}, measured in turn."""
    looks = {}
    for _ in range(CALLS):
        for model in (models.Watched, models.Task):
            looks.setdefault(model._meta.db_table, []).append(of(model))
    return {
        table: {
            "all": statistics.median(sum(one) for one in found),
            "slowest": statistics.median(max(one) for one in found),
        }
        for table, found in looks.items()
    }


def of(model):
    """Return how many ms each statement took; nothing may be left out."""
    took = []

    def take(execute, *statement):
        began = time.perf_counter()
        answer = execute(*statement)
        took.append((time.perf_counter() - began) * 1000)
        return answer

    with connection.execute_wrapper(take):
        end, depth = time.monotonic() + figures.ALL, figures.Depth.HISTORY
        found = figures.of_table(model, "default", end, figures.LIMIT, depth)
    if found.problem or not found.total.done or not sum(one.done for one in found.day):
        raise SystemExit(f"{found.label}: {found.problem or 'nothing was counted'}")
    return took
