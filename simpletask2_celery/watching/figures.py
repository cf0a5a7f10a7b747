"""What dashboard and status command show: counts, rates, times, queues and workers.

Every read of a table has a limit, and all together have one, so that a page comes
whatever happens: a figure that is None took too long, or what it is about is down. Rows
that are not DONE come from ``auto_reset_index``, what has ended lately from
``history_index``: without that, on a large table, the newest rows stand for all.
"""

import datetime
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from django.db import DatabaseError, connections, models
from django.db.models import Count, F, Max, Min, Q
from django.utils import timezone

from ..conf import conf
from ..indexes import HistoryIndex
from ..publishing import broker, producers
from ..recovery import hints, last_reset
from ..recovery import overdue as missing_reset
from ..rows import at_once, clock, databases, querysets, states
from ..rows import model as row_model
from ..rows.model import Row
from . import time_ranges
from .limits import TOO_LONG, TookTooLong, limited, needs_this_thread

LIMIT = 0.2  # seconds of the statements of one read
ALL = 2.0  # seconds of all reads of tables
BROKER = 1.5  # seconds of all questions to broker, workers and cache
PING = 0.5  # seconds that workers have to answer
EXACT = 100_000  # rows of a table up to which all of them are looked at
NEWEST = 5_000  # rows that stand for those of a larger table without history_index
SAMPLE = 1_000  # runs that percentiles are taken of
TOP = 10  # channels of a model that are told apart
MINUTE, HALF_HOUR = 60, 1800  # seconds of a bar of the charts

T = TypeVar("T")


@dataclass(frozen=True)
class Counts:
    """Rows of one channel, or of several where ``channel`` is None.

    ``stale`` are those of ``doing`` whose lease is over. ``done`` includes ``failed``;
    both are None where they are not known, and ``done`` is an estimate of the database's
    where ``is_estimate``.
    """

    channel: str | None
    ready: int = 0
    doing: int = 0
    stale: int = 0
    oldest_ready_seconds: float | None = None
    done: int | None = None
    failed: int | None = None
    is_estimate: bool = False


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


@dataclass
class ModelFigures:
    """The figures of one model in one database.

    ``hour`` are 60 buckets of a minute, ``day`` 48 of half an hour, oldest first; they
    are of ``newest`` rows only where that is not None. ``problem`` says what went wrong.
    """

    model: type[Row]
    using: str
    total: Counts | None = None
    channels: list[Counts] = field(default_factory=list)
    hour: list[Bucket] | None = None
    day: list[Bucket] | None = None
    newest: int | None = None
    times: Times | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """The model as "app.model"."""
        return self.model._meta.label_lower

    @property
    def label(self) -> str:
        """The name, and the database where it is not "default"."""
        return self.name if self.using == "default" else f"{self.name} · {self.using}"


@dataclass(frozen=True)
class Figures:
    """All figures. ``workers``, ``queues`` and ``last_reset`` are None where not known.

    ``queues`` is {channel: messages}, ``last_reset`` the seconds since it ran.
    """

    at: datetime.datetime
    models: list[ModelFigures]
    broker: str | None
    workers: list[str] | None
    queues: dict[str, float] | None
    last_reset: float | None
    is_reset_missing: bool


def read(task_models: Iterable[type[Row]] | None = None, history: bool = True) -> Figures:
    """Read all figures, of all task models by default, in four seconds at most.

    Without ``history``, what has ended lately is not looked at. Never raises for what is
    down, slow or silent.
    """
    wanted = row_model.task_models() if task_models is None else list(task_models)
    found = _of_databases(wanted, history)
    producers.import_transport()
    answers = at_once.ask(
        {
            "broker": broker.ping,
            "workers": lambda: broker.workers(PING),
            "queues": lambda: _queues(found),
            "last reset": lambda: (last_reset.age(), hints.is_shared()),
        },
        BROKER,
    )
    known = {
        name: None if isinstance(answer, at_once.Problem) else answer
        for name, answer in answers.items()
    }
    age, is_shared = known["last reset"] or (None, False)
    overdue = missing_reset.MISSING * conf.auto_reset_interval
    problem = answers["broker"]
    return Figures(
        at=timezone.now(),
        models=found,
        broker=problem.text if isinstance(problem, at_once.Problem) else None,
        workers=known["workers"],
        queues=known["queues"],
        last_reset=age,
        is_reset_missing=is_shared and (age is None or age > overdue),
    )


def _of_databases(wanted: Iterable[type[Row]], history: bool) -> list[ModelFigures]:
    """Return the figures of each model in each of its databases."""
    models_of = databases.models_of(sorted(wanted, key=lambda one: one._meta.label_lower))
    end = time.monotonic() + ALL
    answers: dict[str, Any] = {}
    looks: dict[str, Callable[[], Any]] = {}
    for using, of_database in models_of.items():
        look = partial(_of_models, of_database, using, end, history)
        if needs_this_thread(using):
            answers[using] = look()
        else:
            looks[f"database {using}"] = look  # whatever its name is, not the broker's
    left = max(0.0, end - time.monotonic())
    for name, answer in at_once.ask(looks, left + LIMIT).items():
        answers[name.removeprefix("database ")] = answer
    found: list[ModelFigures] = []
    for using, answer in answers.items():
        if isinstance(answer, at_once.Problem):
            answer = [ModelFigures(model, using, problem=answer.text) for model in models_of[using]]
        found += answer
    return sorted(found, key=lambda one: (one.name, one.using))


def _queues(found: list[ModelFigures]) -> dict[str, float]:
    channels = {c.channel for one in found for c in one.channels if c.channel is not None}
    return {
        channel: broker.messages_in_queue(channel) for channel in sorted({"default", *channels})
    }


def _of_models(
    task_models: list[type[Row]], using: str, end: float, history: bool
) -> list[ModelFigures]:
    return [
        _of_model(model, using, end, history)
        for model in task_models
        if databases.holds(model, using)
    ]


def _of_model(model: type[Row], using: str, end: float, history: bool) -> ModelFigures:
    found = ModelFigures(model, using)

    def attempt(read: Callable[..., T], *more: Any) -> T | None:
        """Read something: what takes too long does not take the next ones along."""
        try:
            with limited(using, min(LIMIT, end - time.monotonic())):
                return read(found, *more)
        except TookTooLong:
            found.problem = found.problem or TOO_LONG
        except DatabaseError as error:
            found.problem = found.problem or type(error).__name__
        return None

    size = attempt(_estimate)
    attempt(_read_open)
    attempt(_read_done, size)
    ended = attempt(_ended, size) if history else None
    if ended is not None:
        attempt(_read_times, ended)
        found.hour = attempt(_history, ended, MINUTE, 60)
        found.day = attempt(_history, ended, HALF_HOUR, 48)
    return found


# -- counts --------------------------------------------------------------------------


# Annotations have a prefix, for a user's field may have any other name.


def _read_open(found: ModelFigures) -> None:
    """Count the rows that are not DONE: all of them, by channel."""
    now = clock.now(found.using)
    rows = querysets.own_rows(found.model, found.using)
    column = querysets.channel_column(found.model)
    groups = rows.filter(status__lt=states.DONE).values("status")
    if column is not None:
        groups = groups.annotate(st2_channel=F(column.attname))
    groups = groups.annotate(
        st2_count=Count("status"),
        st2_over=Count("status", filter=Q(auto_reset_time__lt=now)),
        st2_oldest=Min("add_time"),
    ).order_by()
    is_unknown = column is None and getattr(found.model, "channel_field", None)
    by_channel: dict[str | None, dict[str, Any]] = {}
    for group in groups:
        value = group.get("st2_channel")
        name = "default" if value in (None, "") else str(value)
        new = {"ready": 0, "doing": 0, "stale": 0}
        into = by_channel.setdefault(None if is_unknown else name, new)
        if group["status"] == states.DOING:
            into["doing"] += group["st2_count"]
            into["stale"] += group["st2_over"]
        else:
            into["ready"] += group["st2_count"]
            oldest = min(into.get("oldest") or group["st2_oldest"], group["st2_oldest"])
            into["oldest"] = oldest
    found.channels = list(_top(by_channel, now))
    found.total = _sum(None, found.channels)


def _top(by_channel: dict[str | None, dict[str, Any]], now: Any) -> Iterator[Counts]:
    """Yield the counts of the channels with most rows, and of the others together."""
    counts = [
        Counts(
            name,
            ready=one["ready"],
            doing=one["doing"],
            stale=one["stale"],
            oldest_ready_seconds=_age(one.get("oldest"), now),
        )
        for name, one in by_channel.items()
    ]
    counts.sort(key=lambda one: (-one.ready - one.doing, one.channel or ""))
    yield from counts[:TOP]
    if counts[TOP:]:
        yield _sum(None, counts[TOP:])


def _sum(channel: str | None, counts: list[Counts]) -> Counts:
    ages = [c.oldest_ready_seconds for c in counts if c.oldest_ready_seconds is not None]
    return Counts(
        channel,
        ready=sum(one.ready for one in counts),
        doing=sum(one.doing for one in counts),
        stale=sum(one.stale for one in counts),
        oldest_ready_seconds=max(ages, default=None),
    )


def _read_done(found: ModelFigures, size: int | None) -> None:
    """Count the rows that are DONE: of a large table an estimate, and those failed."""
    total = found.total
    if total is None:
        return
    rows = querysets.own_rows(found.model, found.using).filter(status=states.DONE)
    if not _is_large(size):
        counts = rows.aggregate(
            st2_done=Count("status"),
            st2_failed=Count("status", filter=Q(success=False)),
        )
        found.total = replace(total, done=counts["st2_done"], failed=counts["st2_failed"])
        return
    done = max((size or 0) - total.ready - total.doing, 0)
    found.total = replace(total, done=done, is_estimate=True)
    if _has_history_index(found.model):
        failed = rows.filter(success=False).count()
        found.total = replace(found.total, failed=failed)


def _is_large(size: int | None) -> bool:
    return size is not None and size > EXACT


def _has_history_index(model: type[Row]) -> bool:
    return any(isinstance(index, HistoryIndex) for index in model._meta.indexes)


def _estimate(found: ModelFigures) -> int | None:
    """Return about how many rows the model's table has; None where nobody knows."""
    model, using = found.model, found.using
    questions = {
        "postgresql": "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)",
        "mysql": "SELECT table_rows FROM information_schema.tables "
        "WHERE table_schema = DATABASE() AND table_name = %s",
    }
    connection, meta = connections[using], model._meta
    if (question := questions.get(connection.vendor)) is not None:
        is_quoted = connection.vendor == "postgresql"
        table = connection.ops.quote_name(meta.db_table) if is_quoted else meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(question, [table])
            row = cursor.fetchone()
        return int(row[0]) if row and row[0] is not None and row[0] >= 0 else None
    if not time_ranges.is_counted(model):
        return None
    keys = model._base_manager.using(using).aggregate(first=Min("pk"), last=Max("pk"))
    return keys["last"] - keys["first"] + 1 if keys["last"] else 0


# -- what has ended --------------------------------------------------------------------


def _ended(found: ModelFigures, size: int | None) -> "models.QuerySet[Row]":
    """Return the rows to look at: all, or the newest of a large table without index."""
    rows = querysets.own_rows(found.model, found.using)
    if not _is_large(size) or _has_history_index(found.model):
        return rows
    found.newest = NEWEST
    order = "-pk" if time_ranges.is_counted(found.model) else "-add_time"
    newest = rows.order_by(order).values("pk")[:NEWEST]
    return rows.filter(pk__in=[row["pk"] for row in newest])


def _history(
    found: ModelFigures, ended: "models.QuerySet[Row]", seconds: int, count: int
) -> list[Bucket]:
    """Return what has ended by spans of time, of which the last one is not over."""
    now = clock.now(found.using)
    first = (int(now.timestamp()) // seconds - count + 1) * seconds
    starts = [
        datetime.datetime.fromtimestamp(first + at * seconds, datetime.UTC) for at in range(count)
    ]
    rows = ended.filter(status=states.DONE, done_time__gte=starts[0], done_time__lte=now)
    sums = [{True: 0, False: 0, None: 0} for _ in starts]
    for success in (True, False, None):  # each a range of history_index
        spans = rows.filter(success=success).annotate(
            st2_span=_Spans(F("done_time"), starts[0], seconds)
        )
        groups = spans.values_list("st2_span").annotate(Count("status")).order_by()
        for span, rows_ended in groups:
            sums[min(int(span), count - 1)][success] += rows_ended
    return [
        Bucket(start, sum(ended.values()), ended[False])
        for start, ended in zip(starts, sums, strict=True)
    ]


class _Spans(models.Func):
    """How many spans of ``seconds`` a moment is after ``begin``, by the database itself.

    Django's Trunc is a function of Python's on SQLite, and takes ten times as long.
    """

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


def _read_times(found: ModelFigures, ended: models.QuerySet[Row]) -> None:
    rows = ended.filter(status=states.DONE, success=True, start_time__isnull=False)
    newest = rows.order_by("-done_time").values_list("add_time", "start_time", "done_time")
    runs = [(a, b, c) for a, b, c in newest[:SAMPLE] if b is not None and c is not None]
    if runs:
        waits = sorted((start - added).total_seconds() for added, start, _ in runs)
        lasted = sorted((end - start).total_seconds() for _, start, end in runs)
        both = (_percentile(waits, 50), _percentile(waits, 95))
        found.times = Times(len(runs), *both, _percentile(lasted, 50), _percentile(lasted, 95))


def _percentile(ordered: list[float], percent: int) -> float:
    """Return the smallest value that so many percent of all are not above."""
    return max(ordered[-(-len(ordered) * percent // 100) - 1], 0.0)  # by two clocks


def _age(moment: datetime.datetime | None, now: datetime.datetime) -> float | None:
    return None if moment is None else max((now - moment).total_seconds(), 0.0)
