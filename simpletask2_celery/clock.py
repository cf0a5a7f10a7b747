"""The time that leases are written and judged by: one for all, the database's.

A worker whose clock is off by minutes would otherwise find other workers' leases over,
and run their rows a second time. The difference is asked for once a minute; clocks
that agree within a second are left alone.
"""

import datetime
import time

from celery import current_app
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
_offsets: dict[str, tuple[float, datetime.timedelta]] = {}


def now(using: str) -> datetime.datetime:
    """Return the time by the clock of the database ``using``, as ``timezone.now()``."""
    asked, offset = _offsets.get(using, (-ASK, _NONE))
    if time.monotonic() - asked >= ASK:
        offset = retrying.persist(using, lambda: _ask(using))
        _offsets[using] = time.monotonic(), offset
    return timezone.now() + offset


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
    here = timezone.now()
    if timezone.is_naive(here):  # in the zone of the settings, whatever is active
        here = timezone.make_aware(here, timezone.get_default_timezone())
    return here
