"""The time that leases are written and judged by: one for all, the database's.

A worker whose clock is off by minutes would otherwise find other workers' leases over, and run
their rows a second time. The difference is asked for once a minute, and when this clock was set;
less than a second is none. A test has one clock, which may be frozen.
"""

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from celery import current_app
from django.conf import settings
from django.core import mail
from django.db import connections
from django.utils import timezone

from . import retrying

ASK = 60.0  # seconds that an answer is used
SLACK = datetime.timedelta(seconds=1)
_NONE = datetime.timedelta(0)
_NEVER = float("-inf"), 0.0, _NONE  # an answer that is too old
_QUERIES = {
    "postgresql": "SELECT (clock_timestamp() AT TIME ZONE 'UTC')",
    "mysql": "SELECT UTC_TIMESTAMP(6)",
    "sqlite": "SELECT STRFTIME('%Y-%m-%d %H:%M:%f', 'now')",
    "oracle": "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM DUAL",
}
_own: ContextVar[bool] = ContextVar("simpletask2_celery_own_clock", default=False)
#: By alias: when the database was asked, how this clock was set then, and what to add to it.
_offsets: dict[str, tuple[float, float, datetime.timedelta]] = {}


def now(using: str) -> datetime.datetime:
    """Return the time by the clock of the database ``using``, as ``timezone.now()``."""
    if _own.get() or hasattr(mail, "outbox"):  # which Django gives to tests alone
        return timezone.now()
    asked, setting, offset = _offsets.get(using, _NEVER)
    is_young = 0 <= time.monotonic() - asked < ASK
    if not is_young or abs(_setting() - setting) >= SLACK.total_seconds():
        offset = retrying.persist(using, lambda: _ask(using))
        _offsets[using] = time.monotonic(), _setting(), offset
    return timezone.now() + offset


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

    A lease must not be over early: where USE_TZ is False and the clocks change meanwhile, the later
    of what clock and time say.
    """
    delta = datetime.timedelta(seconds=seconds)
    if timezone.is_aware(moment):
        return moment + delta
    zone = timezone.get_default_timezone()
    there = (moment.replace(tzinfo=zone).astimezone(datetime.UTC) + delta).astimezone(zone)
    return max(moment + delta, there.replace(tzinfo=None))


def aware(moment: datetime.datetime) -> datetime.datetime:
    """Return an aware datetime; a naive one is in the zone of the settings, as Django's."""
    if timezone.is_aware(moment):
        return moment
    return timezone.make_aware(moment, timezone.get_default_timezone())


def stored(moment: datetime.datetime) -> datetime.datetime:
    """Return a datetime as columns have it: naive where USE_TZ is False."""
    zone = timezone.get_default_timezone()
    return aware(moment) if settings.USE_TZ else timezone.make_naive(aware(moment), zone)


def forget() -> None:
    """Forget every answer."""
    _offsets.clear()


def _ask(using: str) -> datetime.timedelta:
    query = _QUERIES.get(connections[using].vendor)
    if query is None or current_app.conf.task_always_eager:
        return _NONE
    before = aware(timezone.now())
    with connections[using].cursor() as cursor:
        cursor.execute(query)
        answer = cursor.fetchone()[0]
    delay = aware(timezone.now()) - before
    if isinstance(answer, str):
        answer = datetime.datetime.fromisoformat(answer)
    offset: datetime.timedelta = answer.replace(tzinfo=datetime.UTC) - before
    if -SLACK < offset < delay + SLACK:  # no more than the answer's own way explains
        return _NONE
    return offset - delay / 2


def _setting() -> float:
    """Return what changes when somebody sets this clock, and only then; in seconds."""
    return time.time() - time.monotonic()
