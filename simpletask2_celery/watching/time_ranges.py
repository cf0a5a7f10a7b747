"""Which rows were added in a time, found without an index on ``add_time``.

A key that the database counts up grows with time. In a large table the keys of a time are
searched for, some twenty rows looked at, so that a day of two years ago costs what today
does. Where the rows looked at are not in the order of time, and in small tables, the times
alone are asked for.
"""

import datetime
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
    key: Any = model._meta.pk
    while key.remote_field:  # the key of a child table is its parent's
        key = key.target_field
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
    search = _Search(querysets.owned(rows.model, rows.db))
    if search.is_small():
        return rows
    keys = Q()
    if since is not None:
        keys &= Q(pk__gte=search.around(since - SLACK)[0])
    if until is not None and until + SLACK < search.last[1]:
        keys &= Q(pk__lte=search.around(until + SLACK)[1])
    return rows.filter(keys) if search.is_in_order() else rows


class _Search:
    """The rows (key, time) that a search by halves has looked at."""

    def __init__(self, rows: QuerySet[Any]) -> None:
        self._rows = rows.order_by("pk").values_list("pk", "add_time")
        self._seen = [*self._rows[:1], *self._rows.reverse()[:1]]

    @property
    def last(self) -> Any:
        return self._seen[1]

    def is_small(self) -> bool:
        return not self._seen or self.last[0] - self._seen[0][0] < SMALL

    def around(self, moment: datetime.datetime) -> tuple[int, int]:
        """Return two keys: that of a row before the moment, and one that none is after.

        They are one and the same of a moment that is before or after all rows.
        """
        (low, first), (high, last) = self._seen[:2]
        if moment <= first:
            return low, low
        if last < moment:
            return high, high
        while high - low > NEAR:
            middle = (low + high) // 2
            found = self._rows.filter(pk__gte=middle, pk__lt=high).first()
            self._seen += [found] if found else []
            if found and found[1] < moment:
                low = found[0]
            else:
                high = middle
        return low, high

    def is_in_order(self) -> bool:
        times = [time for _, time in sorted(self._seen)]
        return all(a - SLACK <= b for a, b in zip(times, times[1:], strict=False))
