"""Hints that the processes of a project give each other by its cache, which may lose them.

By Django's cache API, in the cache that ``DJANGO_SIMPLETASK2_REDIS_NAME`` names. A cache that
fails, or takes more than ``WAIT`` seconds, has no hints.
"""

import logging
import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.utils.crypto import salted_hmac

from ..conf import conf
from ..rows import at_once

logger = logging.getLogger(__name__)

WAIT = 0.5  # seconds that the cache may take to answer
T = TypeVar("T")


def get(names: Iterable[str]) -> dict[str, Any]:
    """Return the hints of those of the names that have one."""
    keys = {key(name): name for name in names}
    hints: dict[str, Any] = _ask(lambda cache: cache.get_many(keys), {}) if keys else {}
    return {keys[at]: value for at, value in hints.items()}


def put(hints: dict[str, Any], seconds: int) -> None:
    """Give hints by their names, to be kept for so many seconds."""
    if hints:
        keys = {key(name): value for name, value in hints.items()}
        _ask(lambda cache: cache.set_many(keys, seconds), None)


def delete(names: Iterable[str]) -> None:
    """Forget the hints of these names."""
    _ask(lambda cache: cache.delete_many([key(name) for name in names]), None)


def be_first(name: str, seconds: float) -> bool:
    """Tell whether nobody has asked for this name in so many seconds, or the cache fails."""
    return _ask(lambda cache: bool(cache.add(key(name), 1, math.ceil(seconds))), True)


def is_shared() -> bool:
    """Tell whether the project's processes share this cache."""
    try:
        return not isinstance(caches[conf.redis_name], (LocMemCache, DummyCache))
    except Exception:
        return False


def key(name: str) -> str:
    """Return the cache key of a hint, which no other project on the same Redis has."""
    secret = salted_hmac("simpletask2_celery.project_cache", "", algorithm="sha256")
    return f"simpletask2-celery:{secret.hexdigest()[:12]}:{name}"


def _ask(question: Callable[[Any], T], otherwise: T) -> T:
    try:
        return at_once.answer("cache", lambda: question(caches[conf.redis_name]), WAIT)
    except Exception as error:
        logger.debug("The project's cache is of no use: %s", type(error).__name__)
        return otherwise
