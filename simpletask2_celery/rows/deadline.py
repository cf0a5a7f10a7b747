"""How long a save waits for others: broker, resolver, Redis lists and cache together.

``DJANGO_SIMPLETASK2_PUBLISH_TIMEOUT`` is for all of them. The database's time does not count.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..conf import conf

OPERATION = 1 / 4  # of the timeout: what an operation of a socket may take


class _Budget:
    """Seconds that may still be waited, but for the operation under way at their end."""

    def __init__(self) -> None:
        self.left = conf.publish_timeout * (1 - OPERATION)


_budget: ContextVar[_Budget | None] = ContextVar("simpletask2_celery_budget", default=None)


@contextmanager
def shared() -> Iterator[None]:
    """Have all that is waited for inside share one timeout; also an outer one's."""
    token = _budget.set(_budget.get() or _Budget())
    try:
        yield
    finally:
        _budget.reset(token)


@contextmanager
def waiting(share: float = 1.0) -> Iterator[float]:
    """Give the seconds that may be waited now: a share of the timeout at most."""
    budget = _budget.get() or _Budget()
    began = time.monotonic()
    try:
        yield max(0.0, min(budget.left, conf.publish_timeout * share))
    finally:
        budget.left -= time.monotonic() - began


def waited() -> None:
    """Remember that an operation of a socket may have waited as long as it may."""
    if (budget := _budget.get()) is not None:
        budget.left -= operation()


def operation() -> float:
    """Return how many seconds an operation of a socket may take."""
    return conf.publish_timeout * OPERATION


class Breaker:
    """A circuit breaker: after a failure nothing is tried for some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = 0.0

    def is_open(self) -> bool:
        """Tell whether the last failure is too young to try again."""
        return time.monotonic() < self._until

    def open(self) -> None:
        """Remember a failure."""
        self._until = time.monotonic() + self._seconds

    def close(self) -> None:
        """Forget the failure."""
        self._until = 0.0
