"""The time that leases are written and judged by: one for all, the database's.

A worker whose clock is off by minutes would otherwise find other workers' leases over,
and run their rows a second time. The difference is asked for once a minute, and when
this clock was set; clocks that agree within a second are left alone. In a test there is
one clock, which may be frozen.
"""

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from celery import current_app
from django.conf import settings
from django.core import mail
from django.db import connections
from django.utils import timezone

from . import retrying

ASK = 60.0  # seconds that an answer is used
SLACK = datetime.timedelta(seconds=1)
_NONE = datetime.timedelta(0)
_QUERIES = {
    "postgresql": "SELECT (clock_timestamp() AT TIME ZONE 'UTC')",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "sqlite": "SELECT STRFTIME('%Y-%m-%d %H:%M:%f', 'now')",
    "oracle": "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM DUAL",
}
_own: ContextVar[bool] = ContextVar("simpletask2_celery_own_clock", default=False)


class _Offset(NamedTuple):
    """What is to be added to this clock: asked when, and how that was set then."""

    asked: float
    setting: float
    value: datetime.timedelta

    def holds(self) -> bool:
        """Tell whether it need not be asked for again."""
        is_young = 0 <= time.monotonic() - self.asked < ASK
        return is_young and abs(_setting() - self.setting) < SLACK.total_seconds()


_offsets: dict[str, _Offset] = {}


def now(using: str) -> datetime.datetime:
    """Return the time by the clock of the database ``using``, as ``timezone.now()``."""
    if _own.get() or hasattr(mail, "outbox"):  # which Django gives to tests alone
        return timezone.now()
    offset = _offsets.get(using)
    if offset is None or not offset.holds():
        value = retrying.persist(using, lambda: _ask(using))
        _offsets[using] = offset = _Offset(time.monotonic(), _setting(), value)
    return timezone.now() + offset.value


@contextmanager
def this_one() -> Iterator[None]:
    """Go by this process's own clock inside: a test may have frozen it."""
    token = _own.set(True)
    try:
        yield
    finally:
        _own.reset(token)


def after(moment: datetime.datetime, seconds: float) -> datetime.datetime:
    """Return the moment so many seconds later, as the database is to have it.

    Without USE_TZ, when the clocks change meanwhile, the later of what clock and time
    say: a lease must not be over early.
    """
    delta = datetime.timedelta(seconds=seconds)
    later = moment + delta
    if timezone.is_aware(moment):
        return later
    zone = timezone.get_default_timezone()
    there = (moment.replace(tzinfo=zone).astimezone(datetime.UTC) + delta).astimezone(zone)
    return max(later, there.replace(tzinfo=None))


def aware(moment: datetime.datetime) -> datetime.datetime:
    """Return an aware datetime; a naive one is in the zone of the settings, as Django's."""
    if timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())


def stored(moment: datetime.datetime) -> datetime.datetime:
    """Return a datetime as columns have it: naive where USE_TZ is False."""
    moment = aware(moment)
    if settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


def forget() -> None:
    """Forget every answer."""
    _offsets.clear()


def _ask(using: str) -> datetime.timedelta:
    query = _QUERIES.get(connections[using].vendor)
    if query is None or current_app.conf.task_always_eager:
        return _NONE
    before = _here()
    with connections[using].cursor() as cursor:
        cursor.execute(query)
        answer = cursor.fetchone()[0]
    delay = _here() - before
    if isinstance(answer, str):
        answer = datetime.datetime.fromisoformat(answer)
    offset: datetime.timedelta = answer.replace(tzinfo=datetime.UTC) - before
    if -SLACK < offset < delay + SLACK:  # no more than the answer's own way explains
        return _NONE
    return offset - delay / 2


def _here() -> datetime.datetime:
    return aware(timezone.now())


def _setting() -> float:
    """Return what changes when somebody sets this clock, and only then; in seconds."""
    return time.time() - time.monotonic()
