"""Find what was lost: reset the rows whose lease is over and publish them again.

Safe to run at any time, and twice at once: each UPDATE asks again what must still be
true. A row whose worker is alive but slower than its lease runs a second time; the
fence keeps the first run from writing.
"""

import logging
import time
from functools import partial

from ..publishing import publisher
from ..rows import databases, resetting, retrying
from ..rows.model import Row, task_models
from . import hints, lost_runs
from .backlog import Backlog

logger = logging.getLogger(__name__)

_LAST = "last-reset"  # the hint that says when the last reset ran
_KEPT = 7 * 24 * 3600  # seconds


class AutoResetFailed(RuntimeError):
    """Some tables could not be reset; the others were. Its text names them."""


def run() -> dict[str, int]:
    """Reset every model's rows in every database; return {"app.model": number}.

    A table that fails is logged, and the others are reset. AutoResetFailed is raised at the
    end; :func:`age` does not count such a reset.
    """
    counts, failures = {}, {}
    for model in task_models():
        name = model._meta.label_lower
        try:
            counts[name] = model.do_auto_reset()
        except Exception as error:
            logger.exception("Auto-reset of %s failed; the next one tries again.", name)
            failures[name] = type(error).__name__
    if failures:
        text = ", ".join(f"{name} ({kind})" for name, kind in failures.items())
        raise AutoResetFailed(f"Auto-reset failed: {text}; the others were reset.")
    hints.put(_LAST, time.time(), _KEPT)
    return counts


def age() -> float | None:
    """Return how many seconds ago any process ran a reset; None where that is not known."""
    at = hints.get(_LAST)
    if isinstance(at, bool) or not isinstance(at, (int, float)):
        return None  # not our own hint
    age = time.time() - at
    return max(0.0, age) if abs(age) < _KEPT else None


def reset_model(model: type[Row]) -> int:
    """Reset and publish the model's due rows in all its databases; return their number."""
    count = 0
    failures: list[Exception] = []
    backlog = Backlog()

    def choose(page: list[Row]) -> list[Row]:
        return lost_runs.give_up([row for row in page if not backlog.has(row)])

    for using in databases.candidates(model):
        try:
            if retrying.persist(using, partial(databases.holds, model, using)):
                for changed, rows in resetting.reset_due(model, using, choose):
                    if changed:
                        publisher.publish_on_commit(rows, leave_out=True, using=using)
                    count += changed
        except Exception as error:  # raised when the other databases have had their turn
            failures.append(error)
    if failures:
        raise failures[0]
    return count
