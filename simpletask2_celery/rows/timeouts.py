"""Timeouts that an operator sets at run time, in Redis keys per channel.

Compatibility facts, section 6. A Redis that is down, silent or absent must never
hold up a save: every look is bounded, remembered for some seconds, and given up
for longer after a failure; the model's own timeout then holds.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from . import deadline, redis_connection

logger = logging.getLogger(__name__)

REMEMBERED = 5.0  # seconds an answer is used without asking again
GIVEN_UP = 30.0  # seconds without asking after a failure
SHARE = 1 / 6  # of PUBLISH_TIMEOUT
MOST = 1000  # answers that are remembered: a channel may come from a user's field
LONGEST = 366 * 24 * 3600  # seconds of a lease or a wait

_answers: dict[str, tuple[float, int | None]] = {}
_breaker = deadline.Breaker(GIVEN_UP)


def look_up(key: str, connect: Callable[[], Any]) -> int | None:
    """Return the seconds stored under ``key``, or None where there are none.

    ``connect`` returns the project's Redis connection.
    """
    now = time.monotonic()
    until, seconds = _answers.get(key, (0.0, None))
    if now < until:
        return seconds
    seconds = _ask(key, connect)
    if len(_answers) >= MOST:
        _answers.clear()
    _answers[key] = (now + REMEMBERED, seconds)
    return seconds


def forget() -> None:
    """Forget every answer and every failure."""
    _breaker.close()
    _answers.clear()


def _ask(key: str, connect: Callable[[], Any]) -> int | None:
    if _breaker.is_open():
        return None
    try:
        with deadline.waiting(SHARE) as seconds:
            stored = redis_connection.ask(connect(), lambda redis: redis.get(key), seconds)
    except NotImplementedError:  # the cache of that alias is not a django-redis one
        _breaker.open()
        return None
    except Exception as error:
        _breaker.open()
        logger.info(
            "No run-time timeouts from Redis for %d s, the models' own hold: %s",
            GIVEN_UP,
            type(error).__name__,
        )
        return None
    return _seconds(key, stored)


def _seconds(key: str, stored: Any) -> int | None:
    if not stored:
        return None
    try:
        seconds = int(stored)
    except (ValueError, TypeError):  # or digits by the thousand
        seconds = 0
    if not 0 < seconds <= LONGEST:
        logger.warning("Redis key %s must hold a number of seconds, 1 to %d.", key, LONGEST)
        return None
    return seconds
