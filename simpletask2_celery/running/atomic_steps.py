"""A step in one transaction of the row's database, with the write that ends it.

What the handler wrote there is committed together with the word that its step is completed, or
not at all. Where the database ends the transaction, for a deadlock or a cut session, the step
runs again, as long as the run has its claim.
"""

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from django.db import Error

from .. import exceptions
from ..rows import fence, retrying, sessions, states, task_info, transactions
from ..rows import querysets as tables
from ..rows.announcing import Ended
from ..rows.fence import Fence
from ..rows.model import Row
from ..rows.retrying import Fault
from . import steps

T = TypeVar("T")

PATIENCE = retrying.PATIENCE  # seconds after the first failure in which a step is begun again
_PAUSE = 0.05  # seconds at most between two tries


def once(row: Row, step: int, attempt: Callable[[Row], T]) -> T:
    """Return what ``attempt`` returns, which runs a step and writes its end.

    Raises what it raises, when its transaction is rolled back: for what the handler did, or what
    the database said of it, :class:`steps.Raised`.
    """
    own = fence.of(row)
    assert own is not None
    end: float | None = None
    while True:
        result: list[T] = []
        try:
            # A block that the handler leaves open would take the end of this one for its own.
            with sessions.leaving_nothing_open(), transactions.of_step(own.using):
                result.append(attempt(row))
            return result[0]
        except (Error, exceptions.DjangoSimpleTask2Error, steps.Raised) as error:
            cause = _of_the_database(error)
            fault = Fault.REAL if cause is None else retrying.fault_of(own.using, cause)
            if fault is Fault.LOST:
                retrying.drop(own.using)
                if result and _is_committed(row, own, step):
                    return result[0]
            end = end or time.monotonic() + PATIENCE  # however long the handler has worked
            if fault is Fault.REAL or time.monotonic() > end:
                raise _as_raised(step, error, cause) from error
        except SoftTimeLimitExceeded as error:  # between the handler and the commit
            raise steps.Raised(error, Ended(step, 0.0, error=error)) from error
        time.sleep(random.uniform(0, _PAUSE))
        row = reload(row, own)


def reload(row: Row, own: Fence) -> Row:
    """Return the row as its last completed step has left it. Raises ClaimLost."""

    def load() -> Any:
        return own.held(type(row)).exists() and tables.load(type(row), own.using, own.pk)

    mine = retrying.persist(own.using, load)
    if not mine:
        raise exceptions.claim_lost(task_info.text(type(row), own.pk))
    fence.move(own, mine)
    loaded: Row = mine
    return loaded


def _of_the_database(error: BaseException) -> Error | None:
    """Return the database's error that is behind one of ours, or of the handler."""
    cause: BaseException | None = error.error if isinstance(error, steps.Raised) else error
    if isinstance(cause, exceptions.DjangoSimpleTask2Error):
        cause = cause.__cause__
    return cause if isinstance(cause, Error) else None


def _as_raised(step: int, error: BaseException, cause: Error | None) -> BaseException:
    """Return the error of a step that cannot be committed as one of its handler."""
    if cause is None or isinstance(error, steps.Raised):
        return error
    return steps.Raised(cause, Ended(step, 0.0, error=cause))


def _is_committed(row: Any, own: Fence, step: int) -> bool:
    """Tell whether a transaction has landed whose session was lost in its COMMIT."""
    mine = tables.owned(type(row), own.using).filter(pk=own.pk, start_time=own.token)
    mine = mine.filter(completed_step=step).exclude(status=states.READY)
    return bool(retrying.persist(own.using, mine.exists))
