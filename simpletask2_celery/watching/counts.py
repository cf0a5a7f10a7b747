"""How many rows a table has: those not DONE by ``auto_reset_index``, of the others an estimate."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections
from django.db.models import Case, Count, F, Max, Min, Q, When

from ..conf import conf
from ..indexes import HistoryIndex
from ..recovery import backlog, overdue
from ..rows import clock, due, querysets, states
from ..rows.model import Row
from . import time_ranges

EXACT = 100_000  # rows of a table up to which all of them are looked at
TOP = 10  # channels of a model that are told apart
MOST = 100  # channels of a model whose rows wait that are told apart

_ESTIMATES = {
    "postgresql": "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)",
    "mysql": "SELECT table_rows FROM information_schema.tables "
    "WHERE table_schema = DATABASE() AND table_name = %s",
}


@dataclass(frozen=True)
class Counts:
    """Rows of one channel, or of several where ``channel`` is None.

    ``waiting`` are those of ``ready`` that may run now: not those of a ``countdown`` or
    ``eta`` ahead. ``retrying`` are those of durable models that have begun to run before, and
    ``scheduled`` those whose first run is to come at a time ahead. ``stale`` are those of
    ``doing`` whose lease is over. ``done`` includes
    ``failed``; both are None where they are not known, and ``done`` is an estimate of the
    database's where ``is_estimate``. ``overdue`` are those of ``ready``, and ``lost`` those
    of ``stale``, that auto-reset should have found by now. A row is as old as its ``add_time``
    says; a durable one waits from its ``run_after`` on, and is not waited for before.
    """

    channel: str | None
    ready: int = 0
    doing: int = 0
    stale: int = 0
    oldest_ready_seconds: float | None = None
    done: int | None = None
    failed: int | None = None
    is_estimate: bool = False
    overdue: int = 0
    lost: int = 0
    waiting: int = 0
    oldest_waiting_seconds: float | None = None
    retrying: int = 0
    scheduled: int = 0


def not_done(model: type[Row], using: str) -> list[Counts]:
    """Count the rows that are not DONE, by channel if that is a column, in one query."""
    now = clock.now(using)
    column = querysets.channel_column(model)
    is_unknown = column is None and getattr(model, "channel_field", None)
    waits, since = _waiting(model, now)
    rows = querysets.own_rows(model, using).filter(status__lt=states.DONE).order_by()
    # Prefixed: a user's field could have any other name.
    groups = rows.values("status", **({"st2_channel": F(column.attname)} if column else {}))
    channels: dict[str | None, list[Counts]] = {}
    for group in groups.annotate(
        st2_count=Count("status"),
        st2_over=Count("status", filter=Q(auto_reset_time__lt=now)),
        st2_missed=Count("status", filter=_missed(model, now)),
        st2_oldest=Min(since, filter=waits) if model._is_durable else Min(since),
        st2_waiting=Count("status", filter=waits),
        st2_first=Min(since, filter=waits),
        **_memory(model, now),
    ):
        value = group.get("st2_channel")
        channel = None if is_unknown else "default" if value in (None, "") else str(value)
        count, late = group["st2_count"], group["st2_missed"]
        if group["status"] == states.DOING:
            counts = Counts(channel, doing=count, stale=group["st2_over"], lost=late)
        else:
            counts = Counts(
                channel,
                ready=count,
                oldest_ready_seconds=_age(now, group["st2_oldest"]),
                overdue=late,
                waiting=group["st2_waiting"],
                oldest_waiting_seconds=_age(now, group["st2_first"]),
                retrying=group.get("st2_retrying", 0),
                scheduled=group.get("st2_scheduled", 0),
            )
        channels.setdefault(channel, []).append(counts)
    return [total(parts, channel) for channel, parts in channels.items()]


def _waiting(model: type[Row], now: datetime.datetime) -> tuple[Q, Any]:
    """Return what is true of READY rows that may run now, and since when each of them may."""
    if model._is_durable:
        later = When(run_after__gt=F("add_time"), then="run_after")
        return due.is_due(model, now), Case(later, default="add_time")
    # A countdown puts off the time at which the row would be published again.
    again = clock.after(now, model.task_wait_timeout)
    return Q(auto_reset_time=None) | Q(auto_reset_time__lte=again), F("add_time")


def _memory(model: type[Row], now: datetime.datetime) -> dict[str, Any]:
    """Return what is counted of the READY rows of a durable model."""
    if not model._is_durable:
        return {}
    return {
        "st2_retrying": Count("status", filter=is_retrying()),
        "st2_scheduled": Count("status", filter=is_scheduled(now)),
    }


def is_retrying() -> Q:
    """Return what is true of a durable row that is READY for another attempt."""
    return Q(status=states.READY, attempts__gt=0)


def is_scheduled(now: datetime.datetime) -> Q:
    """Return what is true of a durable row whose first attempt is to come at a time ahead."""
    return Q(status=states.READY, attempts=0, run_after__gt=now)


def _missed(model: type[Row], now: datetime.datetime) -> Q:
    """Return what is true of a row that auto-reset should have found by now."""
    wait = datetime.timedelta(seconds=model.task_wait_timeout)
    in_a_queue = max(backlog.LEAST, backlog.PATIENCE * wait)
    found_by = now - overdue.MISSING * datetime.timedelta(seconds=conf.auto_reset_interval)
    is_over = Q(status=states.DOING, auto_reset_time__lt=found_by)
    return is_over | (Q(auto_reset_time__lt=found_by - in_a_queue) & due.is_due(model, now))


def _age(now: datetime.datetime, added: datetime.datetime | None) -> float | None:
    return None if added is None else max((now - added).total_seconds(), 0.0)


def waiting(channels: list[Counts]) -> list[Counts]:
    """Return the counts of the channels whose rows wait, those that wait longest first."""
    ages = [(one.oldest_waiting_seconds, one) for one in channels]
    known = [(age, one) for age, one in ages if age is not None and one.channel is not None]
    return [one for _, one in sorted(known, key=lambda pair: -pair[0])[:MOST]]


def top(channels: list[Counts]) -> list[Counts]:
    """Return the counts of the channels with most rows, and of the others together."""
    ordered = sorted(channels, key=lambda one: (-one.ready - one.doing, one.channel or ""))
    others = ordered[TOP:]
    return [*ordered[:TOP], total(others)] if others else ordered


def total(parts: Iterable[Counts], channel: str | None = None) -> Counts:
    """Return the sums of what ``not_done`` has counted."""
    parts = list(parts)
    names = ("ready", "doing", "stale", "overdue", "lost", "waiting", "retrying", "scheduled")
    joined: dict[str, Any] = {name: sum(getattr(part, name) for part in parts) for name in names}
    for name in ("oldest_ready_seconds", "oldest_waiting_seconds"):
        ages = [getattr(part, name) for part in parts]
        joined[name] = max((age for age in ages if age is not None), default=None)
    return Counts(channel, **joined)


def with_done(model: type[Row], using: str, counts: Counts, size: int) -> Counts:
    """Add the rows that are DONE: of a large table an estimate, and those failed."""
    rows = querysets.own_rows(model, using).filter(status=states.DONE)
    if size <= EXACT:
        failed = Count("status", filter=Q(success=False))
        ended = rows.aggregate(st2_done=Count("status"), st2_failed=failed)
        return replace(counts, done=ended["st2_done"], failed=ended["st2_failed"])
    return replace(
        counts,
        done=max(size - counts.ready - counts.doing, 0),
        failed=rows.filter(success=False).count() if has_history_index(model) else None,
        is_estimate=True,
    )


def has_history_index(model: type[Row]) -> bool:
    """Tell whether the rows that ended lately, or have failed, are found by an index."""
    return any(isinstance(index, HistoryIndex) for index in model._meta.indexes)


def estimate(model: type[Row], using: str) -> int:
    """Return about how many rows the model's table has; 0 where nobody knows."""
    connection, table = connections[using], model._meta.db_table
    if (query := _ESTIMATES.get(connection.vendor)) is not None:
        if connection.vendor == "postgresql":
            table = connection.ops.quote_name(table)
        with connection.cursor() as cursor:
            cursor.execute(query, [table])
            row = cursor.fetchone()
        return int(row[0] or 0) if row else 0
    if not time_ranges.is_counted(model):
        return 0
    keys = model._base_manager.using(using).aggregate(first=Min("pk"), last=Max("pk"))
    return keys["last"] - keys["first"] + 1 if keys["last"] else 0
