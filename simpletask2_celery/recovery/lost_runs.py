"""Rows whose runs are lost again and again: counted, and given up in the end.

A run is lost when its process has died, or when its lease is over before it has ended. The
schema has no column for that, so the project's cache keeps the claim tokens of a row's lost
runs: a run that is found twice counts once. Where the cache forgets, the count starts afresh.
"""

import hashlib
import logging
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

KEPT = 24 * 3600  # seconds since the last lost run of a row


def give_up(rows: Sequence[T], wait: bool = False) -> list[T]:
    """Give up those rows that have lost too many runs, and return the others.

    The runs of the DOING rows must be lost ones. Without ``wait``, rows that a transaction has
    locked are left alone. Raises DatabaseError.
    """
    counts = _count([row for row in rows if row.status == states.DOING and row.start_time])
    others = []
    for row in rows:
        if (count := counts.get(row.pk, 0)) < conf.max_lost_runs:
            others.append(row)
        else:
            text = translate("{count} runs of it in a row did not come to an end")
            give_up_for(row, WorkerLostError(text.format(count=count)), wait)
    return others


def forget(rows: Sequence[Row]) -> None:
    """Start the count of these rows afresh: an operator has reset them."""
    if rows:
        hints.delete([_name(row) for row in rows])


def give_up_for(row: Row, reason: Exception, wait: bool = True) -> None:
    """Make a row DONE and unsuccessful, and log why, unless it has gone on meanwhile."""
    if not transitions.give_up(row, reason, wait):
        return
    name, step = row.get_task_info(), row.current_step or 1
    error = exceptions.handler_failed(name, step, reason.args[0])
    about = {"task_info": name, "step": row.current_step, "code": error.code}
    logger.error("%s: given up: %s", name, error, extra=about)


def _count(rows: Sequence[Row]) -> dict[object, int]:
    """Note that the runs of these rows are lost; return {pk: lost runs in a row}."""
    names = {_name(row): row for row in rows}
    before = hints.get(names)
    counts, tokens = {}, {}
    for name, row in names.items():
        token = row.start_time.isoformat() if row.start_time else ""
        others = [one for one in str(before.get(name, "")).split() if one != token]
        tokens[name] = " ".join([*others, token])  # one text, which any cache can keep
        counts[row.pk] = len(others) + 1
    hints.put(tokens, KEPT)
    return counts


def _name(row: Row) -> str:
    """Return a row's name in the cache, whose keys may not hold any text."""
    name = f"{databases.of(row)}:{row.get_task_info()}"
    return f"lost-run:{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:32]}"
