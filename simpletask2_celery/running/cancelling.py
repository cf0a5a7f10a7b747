"""End a durable row from outside: its caller does not want it any more."""

import logging
from functools import partial
from typing import Any

from .. import exceptions
from ..publishing import broker
from ..rows import announcing, clock, databases, fence, memory, retrying, seen, states, task_info
from ..rows import querysets as tables
from ..rows.states import DOING, READY
from ..rows.transactions import after_commit

logger = logging.getLogger(__name__)

SIGNAL = "SIGUSR1"  # by which Celery raises SoftTimeLimitExceeded in a child of its pool


def cancel(row: Any, terminate: bool) -> bool:
    """Make a READY or DOING row DONE and unsuccessful; False where it is DONE or gone.

    The row may be claimed or end meanwhile: what is written asks for what was read. Raises
    ValueError for a row that is not saved, and RuntimeError for one in its own run.
    """
    if row.pk is None or row._state.adding:
        raise ValueError(f"{row!r} has no row yet: save it before cancelling it.")
    if fence.of(row) is not None:
        raise RuntimeError(
            f"{row.get_task_info()} is in its own run: raise an exception to end it there."
        )
    using = databases.of(row)
    open_row = tables.owned(type(row), using).filter(pk=row.pk, status__in=(READY, DOING))
    while (current := retrying.persist(using, open_row.first)) is not None:
        now = clock.now(using)
        error = exceptions.Cancelled("cancelled")
        values = {**states.end(now, success=False), "mod_time": now}
        values |= memory.cancelled(current, error, now)
        same = open_row.filter(status=current.status, start_time=current.start_time)
        if retrying.persist(using, partial(same.update, **values)):
            state = {name: vars(current)[name] for name in row._state_fields & vars(current).keys()}
            seen.hold(row, state | values)
            announcing.cancelled(row)
            announcing.finished(row, error)
            if terminate and current.status == DOING and current.celery_id:
                after_commit(using, partial(_terminate, row, current.celery_id))
            return True
    return False


def _terminate(row: Any, celery_id: str) -> None:
    """Ask Celery to end the handler; the row is DONE, whatever comes of it."""
    try:
        broker.terminate(celery_id, SIGNAL)
    except Exception as error:  # of the broker
        name = task_info.text(type(row), row.pk)
        text = "%s is cancelled; its worker was not asked to end it: %s"
        logger.warning(text, name, exceptions.in_words(error), extra={"task_info": name})
