"""When a row's requests went out to an egress worker, and when they came back: for the timeline.

Hints in the project's cache, by row, claim and step. A row has no column for when one went out; it
came back when the next step began, which has a column up to step 3.
"""

import datetime
from typing import Any

from ..rows import clock, task_info
from . import hints

KEPT = 7 * 24 * 3600  # seconds
MOST = 100  # steps that are asked for
_NEXT_STEPS = {1: "step2_time", 2: "step3_time"}


def note(row: Any, step: int, *times: datetime.datetime) -> None:
    """Note when the request of a step went out, and when it came back."""
    if row.start_time is not None and hints.is_shared():
        texts = {str(step): " ".join(one.isoformat() for one in times)}
        hints.put_fields(_name(row), texts, KEPT)


def note_return(row: Any, step: int, went: datetime.datetime, now: datetime.datetime) -> None:
    """Note that the request of a step has come back ``now``, where no column will say so."""
    if step not in _NEXT_STEPS:
        note(row, step, went, now)


def times(row: Any) -> dict[int, list[datetime.datetime]]:
    """Return {step: [out]} or {step: [out, back]} of the row's last run, as far as it is known."""
    if row.start_time is None or row.final_step < 2 or not hints.is_shared():
        return {}
    found = hints.get_fields(_name(row), map(str, range(1, min(row.final_step, MOST))))
    known = {int(step): _moments(text) for step, text in found.items()}
    return {step: [*went, *_back(row, step, went)] for step, went in sorted(known.items()) if went}


def _back(row: Any, step: int, went: list[datetime.datetime]) -> list[datetime.datetime]:
    began = getattr(row, _NEXT_STEPS[step]) if step in _NEXT_STEPS else None
    return [began] if began is not None and began >= went[0] else []


def _name(row: Any) -> str:
    name, token = task_info.text(type(row), row.pk), row.start_time.isoformat()
    return f"requests:{row._state.db}:{name}:{token}"


def _moments(text: str) -> list[datetime.datetime]:
    try:
        return [clock.stored(datetime.datetime.fromisoformat(one)) for one in text.split()]
    except ValueError:  # of another version
        return []
