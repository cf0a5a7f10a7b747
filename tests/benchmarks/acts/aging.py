"""What a row and a probe cost on a table that holds a million rows that are DONE."""

import statistics
import time

from simpletask2_celery.rows import claiming, transitions
from simpletask2_celery.watching import counts
from tests.benchmarks.simple import models

ROWS, CALLS = 300, 30


def compare():
    """Return {what: {"full": ms, "empty": ms}}, measured in turn."""
    times = {}

    def take(what, table, act, *arguments):
        began = time.perf_counter()
        answer = act(*arguments)
        took = time.perf_counter() - began
        times.setdefault(what, {}).setdefault(table, []).append(took * 1000)
        return answer

    tables = {"full": models.Full, "empty": models.Empty}
    for number in range(ROWS):
        for table, model in tables.items():
            row = model.objects.bulk_create([model(name="one")])[0]
            row = take("claim", table, claiming.claim, model, "default", row.pk)
            take("finish", table, transitions.finish, row)
            row.delete()
            if number % (ROWS // CALLS) == 0:
                take("do_auto_reset()", table, model.do_auto_reset)
                take("health figures", table, counts.not_done, model, "default")
    return {
        what: {table: statistics.median(found) for table, found in by_table.items()}
        for what, by_table in times.items()
    }
