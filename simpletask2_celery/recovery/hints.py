"""Hints that the processes of a project give each other by its cache, which may lose them.

By Django's cache API, in the cache that ``DJANGO_SIMPLETASK2_REDIS_NAME`` names. A cache that
fails, or takes more than ``WAIT`` seconds, has no hints. Of many rows django-redis is asked by one
hash: a key for each row would make an auto-reset of lost rows a third slower.
"""

import hashlib
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
from ..rows import at_once, redis_connection

logger = logging.getLogger(__name__)

WAIT = 0.5  # seconds that the cache may take to answer
T = TypeVar("T")


def get(name: str) -> Any:
    """Return the hint of a name, or None."""
    return _ask(lambda cache: cache.get(key(name)), None)


def put(name: str, value: Any, seconds: int) -> None:
    """Give a hint, to be kept for so many seconds."""
    _ask(lambda cache: cache.set(key(name), value, seconds), None)


def be_first(name: str, seconds: float) -> bool:
    """Tell whether nobody has asked for this name in so many seconds, or the cache fails."""
    return _ask(lambda cache: bool(cache.add(key(name), 1, math.ceil(seconds))), True)


def get_fields(name: str, fields: Iterable[str]) -> dict[str, str]:
    """Return the texts of those fields of a name that have one."""
    names = list(fields)

    def of_redis(redis: Any) -> dict[str, str]:
        texts = zip(names, redis.hmget(key(name), names), strict=True)
        return {field: _text(text) for field, text in texts if text is not None}

    def of_cache(cache: Any) -> dict[str, str]:
        keys = {_field_key(name, field): field for field in names}
        return {keys[at]: text for at, text in cache.get_many(keys).items()}

    return _ask(of_cache, {}, of_redis) if names else {}


def put_fields(name: str, texts: dict[str, str], seconds: int) -> None:
    """Give texts as fields of a name; it is kept for so many seconds since its last change."""

    def of_redis(redis: Any) -> None:
        with redis.pipeline(transaction=False) as pipe:
            pipe.hset(key(name), mapping=texts)
            pipe.expire(key(name), seconds)
            pipe.execute()

    def of_cache(cache: Any) -> None:
        keys = {_field_key(name, field): text for field, text in texts.items()}
        cache.set_many(keys, seconds)

    if texts:
        _ask(of_cache, None, of_redis)


def delete_fields(name: str, fields: list[str]) -> None:
    """Forget some fields of a name."""
    _ask(
        lambda cache: cache.delete_many([_field_key(name, field) for field in fields]),
        None,
        lambda redis: redis.hdel(key(name), *fields),
    )


def is_shared() -> bool:
    """Tell whether the project's processes share this cache."""
    try:
        return not isinstance(caches[conf.redis_name], (LocMemCache, DummyCache))
    except Exception:
        return False


def key(name: str) -> str:
    """Return the cache key of a hint, which no other project on the same Redis has."""
    return f"simpletask2-celery:{_project(settings.SECRET_KEY)}:{name}"


@lru_cache(maxsize=1)
def _project(secret: str) -> str:
    salt = "simpletask2_celery.project_cache"
    return salted_hmac(salt, "", secret, algorithm="sha256").hexdigest()[:12]


def _field_key(name: str, field: str) -> str:
    """Return a key that any cache takes, whatever the field holds."""
    digest = hashlib.sha256(field.encode(errors="surrogatepass")).hexdigest()[:32]
    return key(f"{name}:{digest}")


def _text(value: str | bytes) -> str:
    """Return a text of Redis, with its option ``decode_responses`` or without."""
    return value.decode() if isinstance(value, bytes) else value


def _ask(
    of_cache: Callable[[Any], T], otherwise: T, of_redis: Callable[[Any], T] | None = None
) -> T:
    """Ask the cache; its Redis, if there is a question for one and the cache is django-redis."""
    try:
        if of_redis is not None and (redis := _redis()) is not None:
            return redis_connection.ask(redis, of_redis, WAIT)
        return at_once.answer("cache", lambda: of_cache(caches[conf.redis_name]), WAIT)
    except Exception as error:
        logger.debug("The project's cache is of no use: %s", type(error).__name__)
        return otherwise


def _redis() -> Any:
    """Return the cache's connection; None where the cache is not django-redis."""
    try:
        return redis_connection.of_project()
    except NotImplementedError:
        return None
