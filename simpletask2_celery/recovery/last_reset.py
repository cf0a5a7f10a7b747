"""When the last auto-reset ran, and who is to run a missing one."""

import time

from . import hints

KEPT = 7 * 24 * 3600  # seconds
_NAME = "last-reset"


def note() -> None:
    """Note that a reset has run just now."""
    hints.put({_NAME: time.time()}, KEPT)


def age() -> float | None:
    """Return how many seconds ago a reset ran; None where that is not known."""
    at = hints.get([_NAME]).get(_NAME)
    if isinstance(at, bool) or not isinstance(at, (int, float)):
        return None  # not our own note
    age = time.time() - at
    return max(0.0, age) if abs(age) < KEPT else None


def ask(seconds: float) -> bool:
    """Tell whether to be the one who runs a missing reset: one in ``seconds``."""
    return hints.be_first("asked-for", seconds)
