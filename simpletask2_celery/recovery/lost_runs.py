"""Rows whose runs are lost again and again: counted, and given up in the end.

A run is lost when its process has died, or when its lease is over before it has ended. A
durable row counts them in a column. The schema of the others has none, so the project's cache
keeps the claim tokens of a row's lost runs: a run that is found twice counts once. Where the
cache forgets, the count starts afresh.
"""

import logging
import time
from collections.abc import Sequence
from typing import TypeVar

from celery.exceptions import WorkerLostError
from django.utils.translation import ngettext

from .. import exceptions
from ..conf import conf
from ..rows import databases, states, task_info, transitions
from ..rows.model import Row
from . import hints

T = TypeVar("T", bound=Row)
logger = logging.getLogger(__name__)

DAY = 24 * 3600  # seconds that the last lost run of a row is known, at least


def give_up(rows: Sequence[T], wait: bool = False) -> list[T]:
    """Give up those rows that have lost too many runs, and return the others.

    The runs of the DOING rows must be lost ones. Without ``wait``, rows that a transaction has
    locked are left alone. Raises DatabaseError.
    """
    lost = [row for row in rows if row.status == states.DOING and row.start_time]
    counts = _count(lost)
    others = []
    for row in rows:
        if (count := counts.get(row.pk, 0)) < conf.max_lost_runs:
            others.append(row)
        else:
            text = ngettext(
                "{count} run of it did not come to an end",
                "{count} runs of it in a row did not come to an end",
                count,
            )
            give_up_for(row, WorkerLostError(text.format(count=count)), wait)
    return others


def forget(rows: Sequence[Row]) -> None:
    """Start the count of these rows of one table afresh: an operator has reset them."""
    if rows:
        for name in _days(rows[0]):
            hints.delete_fields(name, [str(row.pk) for row in rows])


def give_up_for(row: Row, reason: Exception, wait: bool = True) -> None:
    """Make a row DONE and unsuccessful, and log why, unless it has gone on meanwhile."""
    if not transitions.give_up(row, reason, wait):
        return
    name, handler = row.get_task_info(), task_info.handler(type(row), row.current_step or 1)
    error = exceptions.handler_failed(name, handler, reason.args[0])
    about = {"task_info": name, "step": row.current_step, "code": error.code}
    logger.error("%s: given up: %s", name, error, extra=about)


def _count(rows: Sequence[Row]) -> dict[object, int]:
    """Remember that the runs of these rows are lost; return {pk: lost runs in a row}."""
    if not rows:
        return {}
    if rows[0]._is_durable:  # the row itself remembers
        return {row.pk: getattr(row, "lost_attempts", 0) + 1 for row in rows}
    fields = {str(row.pk): row for row in rows}
    yesterday, today = _days(rows[0])
    before = hints.get_fields(yesterday, fields) | hints.get_fields(today, fields)
    counts, tokens = {}, {}
    for field, row in fields.items():
        token = row.start_time.isoformat() if row.start_time else ""
        others = [one for one in before.get(field, "").split() if one != token]
        tokens[field] = " ".join([*others, token])  # one text, which any cache can keep
        counts[row.pk] = len(others) + 1
    hints.put_fields(today, tokens, 2 * DAY)
    return counts


def _days(row: Row) -> tuple[str, str]:
    """Return the names under which yesterday's and today's lost runs of a table are kept."""
    today = int(time.time() // DAY)
    name = f"lost-runs:{databases.of(row)}:{row._meta.label_lower}"
    return f"{name}:{today - 1}", f"{name}:{today}"
