"""Which rows were added in a time, found without an index on ``add_time``.

A key that the database counts up grows with time. A search by halves finds the keys of a time
in a large table: it looks at some twenty rows, so that a day of two years ago costs what today
does. In a small table, and if those rows are not in the order of time, the rows are filtered
by ``add_time`` alone.
"""

import datetime
from itertools import pairwise
from typing import Any

from django.db import models
from django.db.models import Q, QuerySet

from ..rows import querysets

SMALL = 50_000  # keys between first and last, below which a search gains nothing
NEAR = 1_000  # keys that a bound may be off, on the safe side
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
    keys = Q()
    if since is not None:
        keys &= Q(pk__gte=_around(since - SLACK, times, seen)[0])
    if until is not None and until + SLACK < seen[1][1]:
        keys &= Q(pk__lte=_around(until + SLACK, times, seen)[1])
    by_key = [moment for _, moment in sorted(seen)]
    is_in_order = all(a - SLACK <= b for a, b in pairwise(by_key))
    return rows.filter(keys) if is_in_order else rows


def _around(
    moment: datetime.datetime, times: QuerySet[Any], seen: list[tuple[int, datetime.datetime]]
) -> tuple[int, int]:
    """Return two keys: that of a row before the moment, and one that none is after.

    They are one and the same of a moment that is before or after all rows. The search goes
    by halves; ``seen`` has the first and the last row, and gets those that are looked at.
    """
    (low, first), (high, last) = seen[:2]
    if moment <= first:
        return low, low
    if last < moment:
        return high, high
    while high - low > NEAR:
        middle = (low + high) // 2
        row = times.filter(pk__gte=middle, pk__lt=high).first()
        seen += [row] if row else []
        if row and row[1] < moment:
            low = row[0]
        else:
            high = middle
    return low, high
