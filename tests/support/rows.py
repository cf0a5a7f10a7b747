"""Rows in any state, and values of every kind of field."""

import datetime
import decimal
import uuid

from django.utils import timezone

from simpletask2_celery.rows import claiming, querysets
from tests.support import ALIASES
from tests.support.project.jobs.models import Job

READY, DOING, DONE = 10, 20, 30


def ago(seconds):
    return timezone.now() - datetime.timedelta(seconds=seconds)


def make(using, count=1, model=Job, fields=None, **values):
    rows = [model(**(fields or {})) for _ in range(count)]
    for row in rows:
        row.save(using=using)
    querysets.owned(model, using).filter(pk__in=[row.pk for row in rows]).update(**values)


def on_each(model=Job, **fields):
    """Create a row in each database, and return both; no other has their names.

    The second row's key is the first one's, negative: no database counts up to that.
    """
    first = model.objects.using(ALIASES[0]).create(**fields)
    return [first, model.objects.using(ALIASES[1]).create(pk=-first.pk, **fields)]


def done(*rows):
    """Return a function that tells whether all these rows are DONE by now."""

    def ask():
        for row in rows:
            row.refresh_from_db()
        return all(row.status == DONE for row in rows)

    return ask


def at(using, row, seconds, **fields):
    """Let the lease of a row, or its wait, be over in so many seconds."""
    when = timezone.now() + datetime.timedelta(seconds=seconds)
    Job.objects.using(using).filter(pk=row.pk).update(auto_reset_time=when, **fields)


def overdue(using, row):
    """Claim a row, and let its lease be over."""
    claiming.claim(Job, using, row.pk)
    at(using, row, -1)


LONG_AGO = datetime.timedelta(days=60)


def old(**values):
    values = {"status": DONE, "success": True, **values}
    return {"done_time": timezone.now() - LONG_AGO, **values}


def done_jobs(using, count, **values):
    rows = [Job(**old(**values)) for _ in range(count)]
    return Job.objects.using(using).bulk_create(rows)


def ids_of(messages):
    return sorted(kwargs["id"] for kwargs in messages)


def statuses(using):
    return [*Job.objects.using(using).order_by("pk").values_list("status", flat=True)]


#: Values of each field of EveryJob, and others to write over them.
BEFORE = {
    "data": {"a": [1, None, "é"]},
    "price": decimal.Decimal("12.50"),
    "length": datetime.timedelta(days=1, microseconds=5),
    "raw": b"\0\xff",
    "key": uuid.UUID(int=7),
    "day": datetime.date(2026, 2, 3),
    "clock": datetime.time(4, 5, 6),
    "ratio": 0.25,
    "upper": "ABC",
    "odd": 3,
    "file": "a/b.txt",
}
AFTER = {
    "data": [{"b": {"c": 2.5}}],
    "price": decimal.Decimal("-1.25"),
    "length": datetime.timedelta(seconds=-1),
    "raw": b"other",
    "key": uuid.UUID(int=8),
    "day": None,
    "clock": datetime.time(23, 59),
    "ratio": -1.5,
    "upper": "DEF",
    "odd": -3,
    "file": "c.txt",
}
