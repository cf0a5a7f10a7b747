"""Threads that look after something for as long as a worker lives."""

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery.signals import worker_ready, worker_shutting_down

logger = logging.getLogger(__name__)


class WorkerThread(threading.Thread):
    """Looks again and again. An error of a look is logged, and the next look comes all the same."""

    def __init__(self, name: str, rest: float) -> None:
        """Wait ``rest`` seconds before the first look, and after one that failed."""
        super().__init__(name=f"simpletask2-{name}", daemon=True)
        self._rest = rest
        self._stopped = threading.Event()

    def look(self) -> float:
        """Look once; return after how many seconds to look again."""
        raise NotImplementedError

    def run(self) -> None:
        """Look until the worker ends."""
        rest = self._rest
        while not self._stopped.wait(rest):
            rest = self._rest
            try:
                rest = self.look()
            except Exception as error:
                logger.warning("%s: a look has failed: %r", self.name, error)

    def stop(self) -> None:
        """Look no more, and end."""
        self._stopped.set()


def run_in_worker(
    make: Callable[[Any], WorkerThread | None], end: Any = worker_shutting_down
) -> None:
    """Run a thread from when this Celery worker is ready until its signal ``end``.

    ``make`` is given the worker's consumer, and returns None where no thread is wanted.
    """
    threads: list[WorkerThread] = []

    def start(sender: Any, **kwargs: object) -> None:
        if (thread := make(sender)) is not None:
            threads.append(thread)
            thread.start()

    def stop(**kwargs: object) -> None:
        while threads:
            threads.pop().stop()

    worker_ready.connect(start, weak=False)
    end.connect(stop, weak=False)
