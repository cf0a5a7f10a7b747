"""When the last auto-reset ran: kept in the project's cache, and only a hint.

In Redis where the cache is one of django-redis, with bounded waits; else through
Django's cache, which workers and commands should share.
"""

import logging
import time
from typing import Any

from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.utils.crypto import salted_hmac

from . import redis_connection
from .conf import conf

logger = logging.getLogger(__name__)

WAIT = 0.5  # seconds of an operation
KEPT = 7 * 24 * 3600  # seconds


def note() -> None:
    """Note that a reset has run just now."""
    try:
        if (redis := _redis()) is not None:
            redis.set(_key("last-reset"), time.time(), ex=KEPT)
        else:
            caches[conf.redis_name].set(_key("last-reset"), time.time(), KEPT)
    except Exception as error:
        logger.debug("The time of the reset is not noted: %s", type(error).__name__)


def age() -> float | None:
    """Return how many seconds ago a reset ran; None where that is not known."""
    try:
        redis = _redis()
        store = caches[conf.redis_name] if redis is None else redis
        noted = store.get(_key("last-reset"))
        return None if noted is None else max(0.0, time.time() - float(noted))
    except Exception as error:
        logger.debug("The time of the last reset is not known: %s", type(error).__name__)
        return None


def ask(seconds: float) -> bool:
    """Tell whether to be the one who asks for a missing reset: one in ``seconds``."""
    try:
        if (redis := _redis()) is not None:
            return bool(redis.set(_key("asked-for"), 1, nx=True, px=int(seconds * 1000)))
        return caches[conf.redis_name].add(_key("asked-for"), 1, seconds)
    except Exception:
        return True  # better twice than never


def is_shared() -> bool:
    """Tell whether the processes of the project can share what is kept here."""
    try:
        return _redis() is not None or not isinstance(
            caches[conf.redis_name], (LocMemCache, DummyCache)
        )
    except Exception:
        return False


def _key(name: str) -> str:
    """Return the key of this project, which others on the same Redis do not have."""
    project = salted_hmac(
        "simpletask2_celery.last_reset", "", algorithm="sha256"
    ).hexdigest()[:12]
    return f"simpletask2-celery:{project}:{name}"


def _redis() -> Any:
    from django_redis import get_redis_connection

    try:
        return redis_connection.bounded(get_redis_connection(conf.redis_name), WAIT)
    except NotImplementedError:
        return None
