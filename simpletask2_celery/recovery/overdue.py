"""Auto-reset without beat: a worker that finds one overdue runs it itself.

It does so too where beat's messages wait or expire behind long tasks: the rows of a machine
that is gone must not wait for these.
"""

import logging
import time
from typing import Any

from ..conf import conf
from ..rows.no_fork import NoFork
from . import auto_reset, hints, schedule
from .threads import WorkerThread, run_in_worker

logger = logging.getLogger(__name__)

MISSING = 3  # intervals without a reset after which health says that none runs
_TEXT = (
    "No auto-reset for %.0f s: this worker runs one. Does beat run, or do its "
    "messages wait behind long tasks?"
)


class Watch(WorkerThread):
    """Looks, when the next reset should have run, whether it has."""

    def __init__(self) -> None:
        super().__init__("missing-reset", conf.auto_reset_interval)
        self._since = time.monotonic()  # when this thread began, or ran its last reset
        self._has_warned = False

    def look(self) -> float:
        """Run a reset if one is overdue; return after how many seconds to look again."""
        interval = conf.auto_reset_interval
        slack = max(interval / 10, 1.0)  # seconds that beat's own reset may be late
        # Workers without a shared cache do not hear of each other's resets.
        limit = interval + slack if hints.is_shared() else MISSING * interval
        # Count from our own start until a reset has been recorded.
        here = time.monotonic() - self._since
        age = auto_reset.age()
        ago = here if age is None else min(age, here)
        if ago < limit:
            return limit - ago
        with NoFork():
            if hints.be_first("asked-for", interval):
                self._since = time.monotonic()
                is_news = hints.is_shared() and not self._has_warned
                self._has_warned = True
                logger.log(logging.WARNING if is_news else logging.INFO, _TEXT, ago)
                auto_reset.run()
        return slack


def run_when_ready() -> None:
    """Let this Celery worker watch once it is ready, unless resets are not wanted."""
    run_in_worker(watch_of)


def watch_of(worker: Any) -> Watch | None:
    """Return the thread for a worker; None where its app wants no resets."""
    return Watch() if schedule.is_wanted(worker.app) else None
