"""Auto-reset without beat: a worker that misses resets asks for one."""

import logging
import threading
import time
from typing import Any

from celery import signals

from . import last_reset, publisher, schedule
from .conf import conf

logger = logging.getLogger(__name__)

MISSING = 3  # intervals without a reset


class Watch(threading.Thread):
    """Looks once an interval whether resets run."""

    def __init__(self) -> None:
        super().__init__(name="simpletask2-missing-reset", daemon=True)
        self._since = time.monotonic()  # when the last one ran or was asked for
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look until the worker ends."""
        while not self._stopped.wait(conf.auto_reset_interval):
            try:
                self._look()
            except Exception as error:
                logger.warning("A missing reset could not be asked for: %s", error)

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
            logger.warning(
                "No auto-reset for %.0f s: this worker asks for one. Is beat running?", ago
            )
            options = schedule.entry(interval)["options"]
            publisher.send_task(schedule.DO_AUTO_RESET, **options)


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
