"""What a durable row remembers: pure functions from what has happened to columns.

The columns of ``models.DurableTask``, beside those of ``states``. For a row whose model has none of
them, each function returns what it was given, or nothing.
"""

import datetime
import json
import logging
import re
import traceback
from typing import Any

from celery import current_task
from django.db.models import Case, F, IntegerField, Value, When

from .states import DOING

logger = logging.getLogger(__name__)

#: The columns that transitions write; ``run_after`` is the caller's, too.
FIELDS = frozenset(
    {"run_after", "attempts", "lost_attempts", "errors", "return_value", "worker", "celery_id"}
    | {"completed_step", "pending_request"}
)
#: Made once, so that ``fast`` compiles them once.
_ONE_ATTEMPT_MORE, _NEXT_STEP = F("attempts") + 1, F("completed_step") + 1
_STEP_TIMES = ("step1_time", "step2_time", "step3_time")

MOST_ERRORS = 10  # entries of ``errors``
LONGEST_MESSAGE = 1024  # characters of an error
LONGEST_TRACEBACK = 4096  # bytes of an error; its end says most
LONGEST_NAME = 255  # characters of a worker and of an id of Celery
LONGEST_JSON = (
    1 << 20
)  # characters; servers refuse a statement of some MiB, and the row's end in it
DEEPEST = 30  # levels of JSON: JSON_VALID of MariaDB knows 32
_NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")  # as JSON escapes it


def begun(model: Any, now: datetime.datetime, resume: bool) -> dict[str, Any]:
    """Return the columns of a row that is claimed ``now``, for its next attempt.

    With ``resume`` it goes on after the last completed step, where its model says so.
    """
    if not model._is_durable:
        return {}
    values: dict[str, Any] = {"attempts": _ONE_ATTEMPT_MORE, **taken_up(model)}
    if not (resume and model.resume):
        return {**values, "completed_step": 0, "pending_request": None}
    values["current_step"] = _NEXT_STEP
    for before, column in enumerate(_STEP_TIMES):
        is_next = When(completed_step=before, then=Value(now, model._meta.get_field(column)))
        values[column] = Case(is_next, default=F(column))
    return values


def taken_up(model: Any) -> dict[str, Any]:
    """Return the columns of a row that this process goes on with: who it is."""
    if not model._is_durable:
        return {}
    request = current_task.request if current_task else None
    return {
        "worker": _name(request and request.hostname),
        "celery_id": _name(request and request.id),
    }


def resumes(row: Any) -> bool:
    """Tell whether a row's next attempt begins after its last completed step."""
    return bool(row._is_durable and row.resume)


def completed(row: Any, step: int, request: Any = None) -> dict[str, Any]:
    """Return the columns of a row whose step has ended, and has asked for a proxy request.

    Where JSON cannot hold the request, the step counts as not completed: it runs again.
    """
    if not row._is_durable:
        return {}
    if not row.resume:
        return {"completed_step": step}
    is_kept, value = as_json(request)
    return {"completed_step": step, "pending_request": value} if is_kept else {}


def returned(row: Any, data: Any) -> dict[str, Any]:
    """Return the columns of a row whose last step has returned ``data``."""
    if not row._is_durable:
        return {}
    is_kept, value = as_json(data)
    if not is_kept:
        why = "a column of JSON cannot hold it, or it is too long."
        text = f"%s: its return value, a %s, is not kept: {why}"
        name = row.get_task_info()
        logger.warning(text, name, type(data).__name__, extra={"task_info": name})
    return {"return_value": value, **completed(row, row.final_step)}


def failed(
    row: Any, step: int, error: BaseException, now: datetime.datetime, **more: Any
) -> dict[str, Any]:
    """Return the columns of a row whose attempt has failed ``now``: one error more."""
    if not row._is_durable:
        return {}
    kind = type(error)
    entry = {
        "attempt": row.attempts,
        "step": step,
        "started_at": row.start_time and row.start_time.isoformat(),
        "at": now.isoformat(),
        "worker": row.worker,
        "exception_class_path": _text(f"{kind.__module__}.{kind.__qualname__}", LONGEST_NAME),
        "message": _message(error),
        "traceback": _traceback(error),
        **more,
    }
    return {"errors": [*(row.errors or ()), entry][-MOST_ERRORS:]}


def given_up(row: Any, error: BaseException, now: datetime.datetime) -> dict[str, Any]:
    """Return the columns of a row that has lost its last run: one error more, and one lost run."""
    if not row._is_durable:
        return {}
    columns = failed(row, row.current_step or 1, error, now)
    return {**columns, "lost_attempts": row.lost_attempts + 1}


def lost(model: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the ``values`` of resets for rows whose run was lost, or whose message was.

    The count comes first: MySQL gives each assignment what those before it have written.
    """
    if not model._is_durable:
        return values
    count = F("lost_attempts")
    counted = Case(When(status=DOING, then=count + 1), default=count, output_field=IntegerField())
    return {"lost_attempts": counted, **_going_on(model, values)}


def retried(model: Any, values: dict[str, Any], moment: datetime.datetime) -> dict[str, Any]:
    """Return the ``values`` of a reset for a row that is tried again at ``moment``."""
    return {**_going_on(model, values), "run_after": moment}


def forgotten(model: Any, values: dict[str, Any], resume: bool = False) -> dict[str, Any]:
    """Return the ``values`` of a reset that somebody has asked for: nothing is remembered.

    With ``resume``, the steps that are completed are.
    """
    if not model._is_durable:
        return values
    cleared: dict[str, Any] = dict.fromkeys(FIELDS)
    cleared |= {"attempts": 0, "lost_attempts": 0, "errors": [], "completed_step": 0}
    if resume:
        del cleared["completed_step"], cleared["pending_request"]
        values = {name: value for name, value in values.items() if name not in _STEP_TIMES}
    return {**values, **cleared}


def cancelled(row: Any, error: BaseException, now: datetime.datetime) -> dict[str, Any]:
    """Return the error of a row that its caller has cancelled: nobody's frames are in it."""
    return failed(row, row.current_step or 0, error, now, traceback="", worker=None)


def as_json(value: Any) -> tuple[bool, Any]:
    """Return whether a column of JSON can hold a value, and the value as it is read again.

    It is to hold a MiB at most. It holds no NaN, and of Unicode no NUL and no half of a surrogate
    pair ("JSON Types" of PostgreSQL's documentation).
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
        read = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return False, None
    can_be_held = len(text) <= LONGEST_JSON and not _NUL.search(text)
    can_be_held = can_be_held and not _is_deeper(read, DEEPEST)
    return can_be_held, read if can_be_held else None


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not levels or any(_is_deeper(one, levels - 1) for one in inner)


def _going_on(model: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a reset for a row that keeps the times of its completed steps."""
    if not model.resume:
        return values
    return {name: value for name, value in values.items() if name not in _STEP_TIMES}


def _message(error: BaseException) -> str:
    try:
        return _text(str(error), LONGEST_MESSAGE)
    except Exception:  # of the user's own __str__
        return type(error).__name__


def _traceback(error: BaseException) -> str:
    """Return the end of a traceback: the frames and the lines of source, and no values."""
    try:
        lines = traceback.format_exception(error)
    except Exception:  # of something in the exception
        return ""
    text = _text("".join(lines)).encode()
    return text[-LONGEST_TRACEBACK:].decode(errors="ignore")


def _name(value: Any) -> str | None:
    return _text(str(value), LONGEST_NAME) if value else None


def _text(value: str, most: int | None = None) -> str:
    """Return a text that any database can hold: no NUL, no half of a surrogate pair."""
    return value[:most].replace("\0", "").encode(errors="replace").decode()
