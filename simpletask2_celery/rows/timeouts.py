"""Timeouts that an operator sets at run time, in Redis keys per channel.

Section 6 of the compatibility page. A Redis that is down, silent or absent must never hold up a
save: every question is bounded, its answer is used for some seconds, and after a failure nothing is
asked for longer. The model's own timeout holds then.
"""

import logging
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from . import deadline, redis_connection

logger = logging.getLogger(__name__)

REMEMBERED = 5.0  # seconds an answer is used without asking again
GIVEN_UP = 30.0  # seconds without asking after a failure
SHARE = 1 / 6  # of PUBLISH_TIMEOUT
MOST = 1000  # answers that are remembered: a channel may come from a user's field
LONGEST = 366 * 24 * 3600  # seconds of a lease or a wait

_breaker = deadline.Breaker(GIVEN_UP)


def look_up(key: str, connect: Callable[[], Any]) -> int | None:
    """Return the seconds in a key, or None; ``connect`` returns the Redis connection."""
    return _remembered(key, connect, int(time.monotonic() / REMEMBERED))


def forget() -> None:
    """Forget every answer and every failure."""
    _breaker.close()
    _remembered.cache_clear()


@lru_cache(maxsize=MOST)
def _remembered(key: str, connect: Callable[[], Any], period: int) -> int | None:
    if _breaker.is_open():
        return None
    try:
        with deadline.waiting(SHARE) as seconds:
            value = redis_connection.ask(connect(), lambda redis: redis.get(key), seconds)
    except Exception as error:
        _breaker.open()
        if not isinstance(error, NotImplementedError):  # or it is no cache of django-redis
            text = "No run-time timeouts from Redis for %d s, the models' own hold: %s"
            logger.info(text, GIVEN_UP, type(error).__name__)
        return None
    return _seconds(key, value) if value else None


def _seconds(key: str, value: Any) -> int | None:
    try:
        seconds = int(value)
    except (ValueError, TypeError):  # or digits by the thousand
        seconds = 0
    if 0 < seconds <= LONGEST:
        return seconds
    logger.warning("Redis key %s must hold a number of seconds, 1 to %d.", key, LONGEST)
    return None
