"""Auto-reset without beat: a worker that finds one overdue runs it itself.

Also where beat runs, and its messages wait or expire behind long tasks: the rows of a
machine that is gone are not to wait for these.
"""

import logging
import threading
import time
from typing import Any

from celery import signals

from ..conf import conf
from ..rows.no_fork import NoFork
from . import auto_reset, hints, last_reset, schedule

logger = logging.getLogger(__name__)

MISSING = 3  # intervals without a reset: health says so


class Watch(threading.Thread):
    """Looks when the next reset should have run whether it has."""

    def __init__(self) -> None:
        super().__init__(name="simpletask2-missing-reset", daemon=True)
        self._since = time.monotonic()  # when this one began, or ran the last
        self._told = False
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look until the worker ends."""
        rest = conf.auto_reset_interval
        while not self._stopped.wait(rest):
            rest = conf.auto_reset_interval
            try:
                with NoFork():
                    rest = self._look()
            except Exception as error:
                logger.warning("A missing reset could not be run: %r", error)

    def stop(self) -> None:
        """End."""
        self._stopped.set()

    def _look(self) -> float:
        """Run a reset if one is overdue; return after how many seconds to look again."""
        here = time.monotonic() - self._since  # a reset nobody noted is not missing yet
        age = last_reset.age()
        ago = here if age is None else min(age, here)
        if ago < overdue():
            return overdue() - ago
        if last_reset.ask(conf.auto_reset_interval):
            self._since = time.monotonic()
            self._tell(ago)
            auto_reset.run()
        return slack()

    def _tell(self, ago: float) -> None:
        is_news = hints.is_shared() and not self._told
        self._told = True
        logger.log(
            logging.WARNING if is_news else logging.INFO,
            "No auto-reset for %.0f s: this worker runs one. Does beat run, or do its "
            "messages wait behind long tasks?",
            ago,
        )


def overdue() -> float:
    """Return after how many seconds without a reset a worker runs one.

    An interval and some slack, where workers can know of each other's; three intervals
    where they share no cache.
    """
    if hints.is_shared():
        return conf.auto_reset_interval + slack()
    return MISSING * conf.auto_reset_interval


def slack() -> float:
    """Return how many seconds beat's own reset may be late."""
    return max(conf.auto_reset_interval / 10, 1.0)


_watches: list[Watch] = []


def run_when_ready() -> None:
    """Let this Celery worker watch once it is ready, unless resets are not wanted."""
    signals.worker_ready.connect(_start)
    signals.worker_shutting_down.connect(_stop)


def _start(sender: Any, **kwargs: object) -> None:
    if schedule.is_wanted(sender.app):
        _watches.append(Watch())
        _watches[-1].start()


def _stop(**kwargs: object) -> None:
    while _watches:
        _watches.pop().stop()
