"""Rows whose runs are lost again and again: counted, and given up in the end.

A run is lost when its process has died, or when its lease is over and it has not come
to an end. The schema has no column to spare, so the project's cache keeps the tokens of
a row's lost runs: a run that is found twice counts once. Where the cache forgets them,
they are counted anew.
"""

import logging
import time
from collections.abc import Sequence
from typing import TypeVar

from celery.exceptions import WorkerLostError
from django.utils.translation import gettext as translate

from .. import exceptions
from ..conf import conf
from ..rows import databases, states, transitions
from ..rows.model import Row
from . import hints

T = TypeVar("T", bound=Row)
logger = logging.getLogger(__name__)

DAY = 24 * 3600  # seconds that the last lost run of a row is known, at least


def give_up(rows: Sequence[T], wait: bool = False) -> list[T]:
    """Give up those rows that have lost too many runs, and return the others.

    The run of each DOING row among them must be a lost one. Without ``wait``, a row that
    a transaction has locked is left alone. Raises DatabaseError.
    """
    counts = _count([row for row in rows if row.status == states.DOING and row.start_time])
    most = conf.max_lost_runs
    others = []
    for row in rows:
        count = counts.get(row.pk, 0)
        if count < most:
            others.append(row)
            continue
        text = translate("{count} runs of it in a row did not come to an end")
        give_up_for(row, WorkerLostError(text.format(count=count)), wait)
    return others


def forget(rows: "Sequence[Row]") -> None:
    """Count anew: somebody has reset these rows of one table, who knows what he does."""
    if rows:
        for name in _days_of(rows[0]):
            hints.delete_fields(name, [_field(row) for row in rows])


def give_up_for(row: Row, reason: Exception, wait: bool = True) -> None:
    """Make a row DONE and unsuccessful, and say why, unless it has gone on meanwhile."""
    if not transitions.give_up(row, reason, wait):
        return
    error = exceptions.error(
        exceptions.HANDLER_FAILED,
        task_info=row.get_task_info(),
        handler=f"do_task_main_step{row.current_step}",
        error=reason.args[0],
    )
    name = row.get_task_info()
    about = {"task_info": name, "step": row.current_step, "code": error.code}
    logger.error("%s: given up: %s", name, error, extra=about)


def _count(rows: "Sequence[Row]") -> dict[object, int]:
    """Note that the runs of these rows are lost; return {pk: lost runs in a row}.

    The tokens of a row are words of one text. Those of all rows of a table are kept
    together, a day's at a time, so that a page of rows takes few requests.
    """
    if not rows:
        return {}
    fields = {_field(row): row for row in rows}
    yesterday, today = _days_of(rows[0])
    known = hints.get_fields(yesterday, list(fields))
    known |= hints.get_fields(today, list(fields))
    counts, kept = {}, {}
    for field, row in fields.items():
        token = row.start_time.isoformat() if row.start_time else ""
        before = [other for other in known.get(field, "").split() if other != token]
        kept[field] = " ".join([*before, token])
        counts[row.pk] = len(before) + 1
    hints.put_fields(today, kept, 2 * DAY)
    return counts


def _days_of(row: Row) -> tuple[str, str]:
    """Return under what names yesterday's and today's lost runs of the table are kept."""
    today = int(time.time() // DAY)
    name = f"lost-runs:{databases.of(row)}:{row._meta.label_lower}"
    return f"{name}:{today - 1}", f"{name}:{today}"


def _field(row: Row) -> str:
    return str(row.pk)
