"""Auto-reset without beat: a worker that finds one overdue runs it itself.

Also where beat runs, and its messages wait or expire behind long tasks: the rows of a machine
that is gone are not to wait for these.
"""

import logging
import time
from typing import Any

from ..conf import conf
from ..rows.no_fork import NoFork
from . import auto_reset, hints, last_reset, schedule
from .threads import WorkerThread, run_in_worker

logger = logging.getLogger(__name__)

MISSING = 3  # intervals without a reset: health says so


class Watch(WorkerThread):
    """Looks, when the next reset should have run, whether it has."""

    def __init__(self) -> None:
        super().__init__("missing-reset", conf.auto_reset_interval)
        self._since = time.monotonic()  # when this one began, or ran the last
        self._has_warned = False

    def look(self) -> float:
        """Run a reset if one is overdue; return after how many seconds to look again."""
        # Count from our own start until a reset has been recorded.
        here = time.monotonic() - self._since
        age = last_reset.age()
        ago = here if age is None else min(age, here)
        if ago < _limit():
            return _limit() - ago
        with NoFork():
            if last_reset.ask(conf.auto_reset_interval):
                self._since = time.monotonic()
                self._log(ago)
                auto_reset.run()
        return _slack()

    def _log(self, ago: float) -> None:
        is_news = hints.is_shared() and not self._has_warned
        self._has_warned = True
        logger.log(
            logging.WARNING if is_news else logging.INFO,
            "No auto-reset for %.0f s: this worker runs one. Does beat run, or do its "
            "messages wait behind long tasks?",
            ago,
        )


def run_when_ready() -> None:
    """Let this Celery worker watch once it is ready, unless resets are not wanted."""
    run_in_worker(watch_of)


def watch_of(worker: Any) -> Watch | None:
    """Return what watches in a worker; None where its app wants no resets."""
    return Watch() if schedule.is_wanted(worker.app) else None


def _limit() -> float:
    """Return after how many seconds without a reset a worker runs one.

    An interval and some slack, where workers can hear of each other's; three intervals where
    they share no cache.
    """
    if hints.is_shared():
        return conf.auto_reset_interval + _slack()
    return MISSING * conf.auto_reset_interval


def _slack() -> float:
    """Return how many seconds beat's own reset may be late."""
    return max(conf.auto_reset_interval / 10, 1.0)
