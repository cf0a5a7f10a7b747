"""Django's Tasks on our rows, beside django-tasks-db, and beside what Celery leaves of either."""

import os

from tests.benchmarks import report, rounds
from tests.benchmarks.systems import OF_FUNCTIONS, NotThere


def function_tasks(quick):
    if not os.environ["TEST_BROKER_URL"].startswith("redis"):
        raise NotThere("the least is pushed by redis")
    count, rows = (1, 200) if quick else (5, 2000)
    measured = rounds.run([*OF_FUNCTIONS.values()], count, rows, quick)
    results = {name: measured[system.name] for name, system in OF_FUNCTIONS.items()}
    for name, found in results.items():
        if "drain" not in found:
            raise RuntimeError(f"{name}: {found}")
    ours, theirs, least = results["tasks"], results["d"], results["least"]
    pushed = results["pushed"]
    return {
        "title": f"A function of Django's Tasks, enqueued with a row (medians of {count})",
        "head": ["system", *(heading for heading, *_ in report.COLUMNS)],
        "lines": [report.line(OF_FUNCTIONS[name].title, found) for name, found in results.items()],
        "drain": ours["drain"] / theirs["drain"],
        "solo": results["solo"]["drain"] / theirs["drain"],
        "best_drain": least["drain"] / theirs["drain"],
        "p50": theirs["p50"] / ours["p50"],
        "enqueue": ours["enqueue"] / theirs["enqueue"],
        "best_enqueue": pushed["enqueue"] / theirs["enqueue"],
    }
