"""What has ended lately, by ``history_index``; in a large table without it, of the newest rows."""

import datetime
from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models import Count, F

from ..rows import clock, querysets, states
from ..rows.model import Row
from . import counts, time_ranges

NEWEST = 5_000  # rows that stand for those of a larger table without history_index
SAMPLE = 1_000  # runs that percentiles are taken of


@dataclass(frozen=True)
class Bucket:
    """Rows that ended in a span of time: ``done`` are all, ``failed`` some of them."""

    start: datetime.datetime
    done: int
    failed: int


@dataclass(frozen=True)
class Times:
    """Percentiles in seconds, of the newest ``rows`` successful runs.

    ``wait`` is from ``add_time`` to ``start_time``, ``run`` from there to ``done_time``.
    """

    rows: int
    wait_p50: float
    wait_p95: float
    run_p50: float
    run_p95: float


def rows_to_look_at(
    model: type[Row], using: str, size: int
) -> tuple["models.QuerySet[Row]", int | None]:
    """Return the rows, and their number if they are only the newest of a large table."""
    rows = querysets.own_rows(model, using)
    if size <= counts.EXACT or counts.has_history_index(model):
        return rows, None
    order = "-pk" if time_ranges.is_counted(model) else "-add_time"
    newest = rows.order_by(order).values_list("pk", flat=True)[:NEWEST]
    return rows.filter(pk__in=list(newest)), NEWEST


def buckets(rows: "models.QuerySet[Row]", seconds: int, count: int) -> list[Bucket]:
    """Return what has ended in each span of so many seconds; the last span is not over."""
    now = clock.now(rows.db)
    first = (int(now.timestamp()) // seconds - count + 1) * seconds
    moments = range(first, first + count * seconds, seconds)
    starts = [clock.stored(datetime.datetime.fromtimestamp(at, datetime.UTC)) for at in moments]
    ended = rows.filter(status=states.DONE, done_time__gte=starts[0], done_time__lte=now)
    span_of_row = _Span(F("done_time"), starts[0], seconds)
    done, failed = [0] * count, [0] * count
    for success in (True, False, None):  # each is a range of history_index
        spans = ended.filter(success=success).annotate(st2_span=span_of_row)
        for span, number in spans.values_list("st2_span").annotate(Count("status")).order_by():
            done[min(int(span), count - 1)] += number
            failed[min(int(span), count - 1)] += number if success is False else 0
    return list(map(Bucket, starts, done, failed))


class _Span(models.Func):
    """The number of a moment's span of ``seconds``, counted from ``begin`` by the database."""

    # Django's Trunc is a Python function on SQLite and takes ten times as long.
    output_field = models.FloatField()
    template = "FLOOR(DATE_PART('epoch', %(expressions)s) / %(seconds)d)"
    arg_joiner = " - "

    def __init__(self, moment: F, begin: datetime.datetime, seconds: int) -> None:
        value = models.Value(begin, models.DateTimeField())
        super().__init__(moment, value, seconds=seconds)

    def as_mysql(self, compiler: Any, connection: Any) -> Any:
        """Return "-TIMESTAMPDIFF(moment, begin)": its arguments are the other way round."""
        template = "-TIMESTAMPDIFF(SECOND, %(expressions)s) DIV %(seconds)d"
        return self.as_sql(compiler, connection, template=template, arg_joiner=", ")

    def as_sqlite(self, compiler: Any, connection: Any, **more: Any) -> Any:
        """Return the same by days, which are exact to a millisecond."""
        seconds = "ROUND((JULIANDAY(%(expressions)s)) * 86400, 3)"
        template = f"CAST({seconds} / %(seconds)d AS INTEGER)"
        joiner = ") - JULIANDAY("
        return self.as_sql(compiler, connection, template=template, arg_joiner=joiner)


def times(rows: "models.QuerySet[Row]") -> Times | None:
    """Return the percentiles of the newest successful runs; None if there are none."""
    ended = rows.filter(status=states.DONE, success=True, start_time__isnull=False)
    newest = ended.order_by("-done_time").values_list("add_time", "start_time", "done_time")
    runs = [(start - added, end - start) for added, start, end in newest[:SAMPLE] if start and end]
    values = []
    for column in zip(*runs, strict=True):
        ordered = sorted(each.total_seconds() for each in column)
        for percent in (50, 95):  # the smallest value that so many percent are not above
            value = ordered[-(-len(ordered) * percent // 100) - 1]
            values.append(max(value, 0.0))  # by two clocks
    return Times(len(runs), *values) if runs else None
