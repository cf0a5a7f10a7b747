"""Whether and when a durable row is tried again: Celery's rules, by Celery's names.

"Retrying" and "Automatic retry for known exceptions" of Celery's documentation.
"""

import datetime
import logging
import sys
from typing import Any, NamedTuple, NoReturn

from celery.exceptions import MaxRetriesExceededError, Retry
from celery.utils.time import get_exponential_backoff_interval

from ..publishing import publisher
from ..rows import clock, fence, task_info, transitions
from ..rows.announcing import Ended
from ..rows.model import Row

logger = logging.getLogger(__name__)


class Asked(Retry):  # type: ignore[misc]  # Celery has no types
    """What ``DurableTask.retry()`` raises: the handler asks for another attempt."""

    def __init__(
        self, reason: BaseException | None, moment: datetime.datetime, limit: int | None
    ) -> None:
        super().__init__(exc=reason, when=moment)
        self.reason, self.moment, self.limit = reason, moment, limit


class Plan(NamedTuple):
    """Why an attempt has failed, and when the next one begins; None where there is none."""

    reason: BaseException
    moment: datetime.datetime | None


def ask(
    row: Any,
    exc: BaseException | None,
    countdown: float | None,
    eta: datetime.datetime | None,
    max_retries: int | None,
) -> NoReturn:
    """Raise what ends a handler's attempt for another one. Errors as of ``DurableTask.retry``."""
    if fence.of(row) is None:
        raise RuntimeError(
            f"{row.get_task_info()} is not in a run: retry() belongs into a handler. "
            "To run a row again from outside, reset() and publish() it."
        )
    if exc is not None and not isinstance(exc, BaseException):
        raise TypeError(f"retry(exc=…) takes an exception, not {type(exc).__name__}.")
    if isinstance(max_retries, bool) or not isinstance(max_retries, (int, type(None))):
        raise TypeError(f"retry(max_retries=…) takes an int, not {type(max_retries).__name__}.")
    when = publisher.check_delay(countdown, eta)
    moment = when or _after(row, row.default_retry_delay)
    limit = row.max_retries if max_retries is None else max_retries
    raise Asked(exc or sys.exc_info()[1], moment, limit)


def plan(row: Any, error: BaseException) -> Plan:
    """Return what follows from the error of an attempt. Never raises for a model's options."""
    if not row._is_durable:
        return Plan(error, None)
    if isinstance(error, Asked):
        if _may_retry(row, error.limit):
            return Plan(error.reason or _without_reason(error), error.moment)
        return Plan(error.reason or _used_up(row), None)
    try:
        if _is_listed(row, error) and _may_retry(row, row.max_retries):
            return Plan(error, _after(row, _delay(row)))
    except Exception:  # of an option that is of the wrong type, which a check names
        name = row.get_task_info()
        logger.exception("%s: its options of retries fail.", name, extra={"task_info": name})
    return Plan(error, None)


def begin(row: Row, next_one: Plan, ended: Ended | None) -> Exception:
    """Write that the row is tried again, publish it, and return what tells Celery.

    Raises ClaimLost where the run has lost its claim.
    """
    assert next_one.moment is not None
    transitions.retry(row, next_one.reason, next_one.moment, ended)
    publisher.publish_on_commit([row], using=str(row._state.db))
    # The moment in Celery's words; the message is the row's, and not Celery's.
    reason = None if isinstance(next_one.reason, Retry) else next_one.reason
    told: Exception = Retry(exc=reason, when=clock.aware(next_one.moment))
    return told


def _is_listed(row: Any, error: BaseException) -> bool:
    return not _is_of(error, row.dont_autoretry_for) and _is_of(error, row.autoretry_for)


def _is_of(error: BaseException, kinds: Any) -> bool:
    """Tell whether an error is of a class, or of one among several."""
    return isinstance(error, kinds if isinstance(kinds, type) else tuple(kinds))


def _may_retry(row: Any, limit: int | None) -> bool:
    # Runs that were lost are no retries: DJANGO_SIMPLETASK2_MAX_LOST_RUNS counts them.
    return limit is None or _retries(row) < limit


def _retries(row: Any) -> int:
    count: int = row.attempts - 1 - row.lost_attempts
    return max(0, count)


def _delay(row: Any) -> float:
    """Return the seconds until the next attempt of a row that is retried by itself."""
    if not row.retry_backoff:
        return float(row.default_retry_delay)
    factor = int(max(1.0, float(row.retry_backoff)))
    most = int(row.retry_backoff_max)
    exponent = min(_retries(row), most.bit_length())  # no number of a million digits
    return float(get_exponential_backoff_interval(factor, exponent, most, row.retry_jitter))


def _after(row: Any, seconds: float) -> datetime.datetime:
    return clock.after(clock.now(str(row._state.db)), seconds)


def _without_reason(asked: Asked) -> Exception:
    """Return what stands for the reason of a handler that has named none, and raised none."""
    retry: Exception = Retry(when=clock.aware(asked.moment))
    return retry.with_traceback(asked.__traceback__)


def _used_up(row: Row) -> Exception:
    name = task_info.text(type(row), row.pk)
    error: Exception = MaxRetriesExceededError(f"Can't retry {name}: its retries are used up.")
    return error
