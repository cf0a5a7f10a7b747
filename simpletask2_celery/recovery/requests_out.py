"""When a row's requests went out to an egress worker, and when they came back: for the timeline.

Hints in the project's cache, by row, claim and step. A row has no column for them.
"""

import datetime
from typing import Any

from ..rows import clock, task_info
from . import hints

KEPT = 7 * 24 * 3600  # seconds
MOST = 100  # steps that are asked for


def note(row: Any, step: int, *times: str) -> None:
    """Note when the request of a step went out, and when it came back, as texts of ISO 8601."""
    if row.start_time is not None and hints.is_shared():
        hints.put_fields(_name(row), {str(step): " ".join(times)}, KEPT)


def times(row: Any) -> dict[int, list[datetime.datetime]]:
    """Return {step: [out]} or {step: [out, back]} of the row's last run, as far as it is known."""
    if row.start_time is None or row.final_step < 2 or not hints.is_shared():
        return {}
    found = hints.get_fields(_name(row), map(str, range(1, min(row.final_step, MOST))))
    known = {int(step): _moments(text) for step, text in found.items()}
    return {step: moments for step, moments in sorted(known.items()) if moments}


def _name(row: Any) -> str:
    name, token = task_info.text(type(row), row.pk), row.start_time.isoformat()
    return f"requests:{row._state.db}:{name}:{token}"


def _moments(text: str) -> list[datetime.datetime]:
    try:
        return [clock.stored(datetime.datetime.fromisoformat(one)) for one in text.split()]
    except ValueError:  # of another version
        return []
