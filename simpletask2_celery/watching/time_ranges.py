"""Which rows were added in a time, found without an index on ``add_time``.

A key that the database counts up grows with time, so a search by halves finds the keys of a
time with a look at some twenty rows. In a small table, and if those rows are not in the order
of time, the rows are filtered by ``add_time`` alone.
"""

import datetime
from bisect import bisect_left
from itertools import pairwise
from typing import Any

from django.db import models
from django.db.models import Q, QuerySet

from ..rows import querysets

SMALL = 50_000  # keys between first and last, below which a search gains nothing
NEAR = 1_000  # keys between two that a search looks at
SLACK = datetime.timedelta(days=1)  # that a row's time may be out of order

Moment = datetime.datetime | None


def is_counted(model: type[models.Model]) -> bool:
    """Tell whether the database counts the model's key up."""
    key = querysets.target_field(model._meta.pk)  # of a child table, that is its parent's
    return isinstance(key, models.AutoField)  # which the big and small ones call theirs


def added(rows: QuerySet[Any], since: Moment, until: Moment) -> QuerySet[Any]:
    """Return those of the rows that were added at ``since`` or later, before ``until``."""
    rows = rows.filter(Q() if since is None else Q(add_time__gte=since))
    rows = rows.filter(Q() if until is None else Q(add_time__lt=until))
    return narrow(rows, since, until)


def narrow(rows: QuerySet[Any], since: Moment, until: Moment) -> QuerySet[Any]:
    """Return the rows within the keys of a time, which others filter by ``add_time``.

    Raises OverflowError for a time at the end of the calendar.
    """
    if not is_counted(rows.model):
        return rows
    times = querysets.owned(rows.model, rows.db).order_by("pk").values_list("pk", "add_time")
    seen = [*times[:1], *times.reverse()[:1]]
    if not seen or seen[1][0] - seen[0][0] < SMALL:
        return rows
    (first_key, first_time), (last_key, last_time) = seen
    keys = range(first_key, last_key, NEAR)

    def time_at(key: int) -> datetime.datetime:
        row: tuple[int, datetime.datetime] = times.filter(pk__gte=key).first() or seen[1]
        seen.append(row)
        return row[1]

    is_near = Q()
    if since is not None and since - SLACK > first_time:
        place = bisect_left(keys, since - SLACK, key=time_at)
        is_near &= Q(pk__gte=keys[max(place - 1, 0)])
    if until is not None and until + SLACK < last_time:
        place = bisect_left(keys, until + SLACK, key=time_at)
        is_near &= Q(pk__lte=keys[place] if place < len(keys) else last_key)
    by_key = [moment for _, moment in sorted(seen)]
    is_in_order = all(a - SLACK <= b for a, b in pairwise(by_key))
    return rows.filter(is_near) if is_in_order else rows
