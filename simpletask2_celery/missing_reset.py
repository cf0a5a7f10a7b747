"""Auto-reset without beat: a worker that misses resets runs one itself.

Also where beat runs, and its messages expire behind a backlog of long tasks.
"""

import logging
import threading
import time
from typing import Any

from celery import signals
from django.db import connections

from . import auto_reset, last_reset, schedule
from .conf import conf
from .no_fork import NoFork

logger = logging.getLogger(__name__)

MISSING = 3  # intervals without a reset


class Watch(threading.Thread):
    """Looks once an interval whether resets run."""

    def __init__(self) -> None:
        super().__init__(name="simpletask2-missing-reset", daemon=True)
        self._since = time.monotonic()  # when this one began, or ran the last
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look until the worker ends."""
        while not self._stopped.wait(conf.auto_reset_interval):
            try:
                with NoFork():
                    self._look()
            except Exception as error:
                logger.warning("A missing reset could not be run: %r", error)

    def stop(self) -> None:
        """End."""
        self._stopped.set()

    def _look(self) -> None:
        interval = conf.auto_reset_interval
        here = time.monotonic() - self._since  # a reset nobody noted is not missing yet
        age = last_reset.age()
        ago = here if age is None else min(age, here)
        if ago <= MISSING * interval:
            return
        self._since = time.monotonic()
        if last_reset.ask(interval):
            logger.log(
                logging.WARNING if last_reset.is_shared() else logging.INFO,
                "No auto-reset for %.0f s: this worker runs one. Does beat run, and do "
                "its messages wait behind long tasks?",
                ago,
            )
            try:
                auto_reset.run()
            finally:
                connections.close_all()


_watches: list[Watch] = []


def run_in_workers() -> None:
    """Let each Celery worker of this project watch, unless resets are not wanted."""
    signals.worker_ready.connect(_start)
    signals.worker_shutting_down.connect(_stop)


def _start(sender: Any, **kwargs: object) -> None:
    if schedule.is_wanted(sender.app):
        _watches.append(Watch())
        _watches[-1].start()


def _stop(**kwargs: object) -> None:
    while _watches:
        _watches.pop().stop()
