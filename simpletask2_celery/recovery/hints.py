"""Hints that the processes of a project give each other by its cache, which may lose them.

By Django's cache API, in the cache that ``DJANGO_SIMPLETASK2_REDIS_NAME`` names. A cache that
fails, or takes more than ``WAIT`` seconds, has no hints.
"""

import logging
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.utils.crypto import salted_hmac

from ..conf import conf
from ..rows import at_once

logger = logging.getLogger(__name__)

WAIT = 0.5  # seconds of a question to the cache
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
    """Tell whether nobody else has asked for this name in so many seconds.

    True where the cache fails: better twice than never.
    """
    return _ask(lambda cache: bool(cache.add(key(name), 1, math.ceil(seconds))), True)


def is_shared() -> bool:
    """Tell whether the processes of the project can share what is kept here."""
    try:
        return not isinstance(caches[conf.redis_name], (LocMemCache, DummyCache))
    except Exception:
        return False


def key(name: str) -> str:
    """Return the key of this project, which others on the same Redis do not have."""
    return f"simpletask2-celery:{_project(settings.SECRET_KEY)}:{name}"


@lru_cache(maxsize=1)
def _project(secret: str) -> str:
    salt = "simpletask2_celery.project_cache"
    return salted_hmac(salt, "", secret, algorithm="sha256").hexdigest()[:12]


def _ask(question: Callable[[Any], T], otherwise: T) -> T:
    try:
        return at_once.answer("cache", lambda: question(caches[conf.redis_name]), WAIT)
    except Exception as error:
        logger.debug("The project's cache is of no use: %s", type(error).__name__)
        return otherwise
