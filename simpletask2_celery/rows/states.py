"""What each transition writes to a row's state: pure functions from times to columns.

Sections 1 and 3 of the compatibility page. When a transition may be written is decided in
``claiming``, ``transitions`` and ``resetting``.
"""

import datetime
from typing import Any

from django.db.models import Q

from ..indexes import DONE as DONE

READY, DOING = 10, 20

#: The columns that only transitions write.
STATE_FIELDS = frozenset(
    {"status", "start_time", "current_step", "step1_time", "step2_time", "step3_time"}
    | {"done_time", "success", "auto_reset_time"}
)


def claim(now: datetime.datetime, lease: datetime.datetime) -> dict[str, Any]:
    """Return the columns of a row that is claimed ``now``, until ``lease``."""
    return {"status": DOING, "start_time": now, "auto_reset_time": lease, **step(1, now)}


def step(number: int, now: datetime.datetime) -> dict[str, Any]:
    """Return the columns of a row whose step ``number`` starts ``now``."""
    values: dict[str, Any] = {"current_step": number, "mod_time": now}
    if (column := f"step{number}_time") in STATE_FIELDS:  # steps above 3 have none
        values[column] = now
    return values


def hand_over(number: int, lease: datetime.datetime) -> dict[str, Any]:
    """Return the columns of a row whose step ``number`` waits, until ``lease``, for an answer."""
    return {"current_step": number, "auto_reset_time": lease}


def end(now: datetime.datetime, success: bool | None) -> dict[str, Any]:
    """Return the columns of a row that is DONE ``now``."""
    return {**mark(now), "success": success}


def mark(now: datetime.datetime) -> dict[str, Any]:
    """Return the columns of a row that is marked done: its ``success`` stays what it is."""
    return {"status": DONE, "done_time": now, "auto_reset_time": None}


def stop(now: datetime.datetime) -> dict[str, Any]:
    """Return the columns of a row that an operator stops. No failure leaves a row in step 0."""
    return {**end(now, success=False), "current_step": 0}


def is_stopped(row: Any) -> bool:
    """Tell whether a row was ended by an operator, as of :func:`stop`."""
    return (row.status, row.success, row.current_step) == (DONE, False, 0)


def reset(now: datetime.datetime, again: datetime.datetime) -> dict[str, Any]:
    """Return the columns of a row that is READY ``now``, and published again at ``again``."""
    cleared: dict[str, Any] = dict.fromkeys(STATE_FIELDS)
    return {**cleared, "status": READY, "auto_reset_time": again, "mod_time": now}


def due(now: datetime.datetime) -> Q:
    """Return what is true of a row that auto-reset looks at.

    ``status < DONE OR status > DONE``, because a plain ``!=`` uses no index.
    """
    return (
        Q(status__lt=DONE, auto_reset_time__lt=now)
        | Q(status__gt=DONE, auto_reset_time__lt=now)
        | Q(status=READY, auto_reset_time=None)
    )
