"""What an egress worker sends back, read as what a stranger sends: each part has its type."""

import datetime
from typing import Any

from .. import exceptions
from ..rows import clock, task_info
from ..rows.model import Row
from . import steps
from .requesting import Answer

#: The parts of an answer, and their types.
_TYPES: dict[str, Any] = {
    "proxied_content": (str, type(None)),
    "proxied_error": (str, type(None)),
    "proxied_status": (int, type(None)),
    "proxied_headers": (dict, type(None)),
}


def read(model: type[Row], pk: Any, back: dict[str, Any]) -> Answer:
    """Return the answer that a message ``go_on`` brings. Raises 2910005 for what is none."""
    step, answer, token = back["step"], back["answer"], moment(back["token"])
    seconds, request_seconds = back["seconds"], back["request_seconds"]
    is_step = type(step) is int and 0 < step < model.final_step
    are_numbers = _is_number(request_seconds) and (seconds is None or _is_number(seconds))
    if token is None or not (is_step and are_numbers and _is_answer(answer)):
        name = f"{task_info.text(model, pk)}: no answer of an egress worker"
        raise exceptions.error(exceptions.BAD_TASK_INFO, task_info=task_info.short(name))
    return Answer(step, token, {**steps.NOT_PROXIED, **answer}, seconds, request_seconds)


def moment(text: Any) -> datetime.datetime | None:
    """Return the time of a text of ISO 8601, as columns have it; None for any other value."""
    try:
        return clock.stored(datetime.datetime.fromisoformat(text))
    except (TypeError, ValueError, OverflowError):
        return None


def _is_answer(answer: Any) -> bool:
    if not isinstance(answer, dict) or answer.keys() != _TYPES.keys():
        return False
    headers = answer["proxied_headers"] or {}
    return all(isinstance(answer[name], kinds) for name, kinds in _TYPES.items()) and all(
        isinstance(value, str) for value in headers.values()
    )


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < 10**9
