"""What a durable row remembers, as the admin shows it: its attempts, its errors, what it returned.

``pending_request`` is never shown: a proxy request may hold passwords.
"""

import datetime
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from django.utils.translation import gettext as translate

from ..rows import clock, states
from . import cells

HIDDEN = "pending_request"  # the column that no page shows
LONGEST_VALUE = 4000  # characters of a return value
SHORT_VALUE = 200  # characters that are shown without a click
_SHOWN = ("attempt", "step", "worker", "exception_class_path", "message", "traceback")


def without_hidden(model: Any, fields: Any) -> Any:
    """Return names of fields, or lines of them, without the column that no page shows."""
    if not model._is_durable or not isinstance(fields, (list, tuple)):
        return fields
    return [without_hidden(model, one) for one in fields if one != HIDDEN]


def may_retry(row: Any, now: datetime.datetime) -> bool:
    """Tell whether a row can be tried again now: it waits for its time, or it has failed."""
    has_failed = row._is_durable and row.status == states.DONE and row.success is False
    return has_failed or cells.waits_for_its_time(row, now)


def facts(row: Any, now: datetime.datetime) -> dict[str, Any] | None:
    """Return what the page of a durable row says of its attempts; None of another row."""
    if not row._is_durable:
        return None
    value = row.return_value
    text = "" if value is None else json.dumps(value, indent=2, ensure_ascii=False)
    return {
        "attempts": row.attempts,
        "lost": row.lost_attempts,
        "next": cells.next_attempt(row, now),
        "run_after": row.run_after and cells.moment(row.run_after),
        "worker": row.worker,
        "celery_id": row.celery_id,
        "completed": row.completed_step,
        "value": text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…",
        "is_short": len(text) <= SHORT_VALUE,
        "errors": [*_errors(row)][::-1],
    }


def failures(row: Any) -> Iterator[tuple[str, datetime.datetime]]:
    """Yield the attempts of a row that have failed, in words, each with its time."""
    for error in _errors(row):
        yield translate("Attempt {number} failed").format(number=error["attempt"]), error["time"]


def _errors(row: Any) -> Iterator[dict[str, Any]]:
    """Yield the errors of a row, oldest first, each with its ``time`` as columns have it."""
    for error in row.errors if row._is_durable and row.errors else ():
        with suppress(KeyError, TypeError, ValueError):  # of what somebody else has written there
            time = clock.stored(datetime.datetime.fromisoformat(error["at"]))
            known = {name: error.get(name) for name in _SHOWN}
            yield {**known, "id": error["at"], "time": time, "when": cells.moment(time)}
