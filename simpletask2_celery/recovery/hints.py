"""Hints that the processes of a project share: in its cache, which may lose them.

In Redis where the cache is one of django-redis, with bounded waits; else through
Django's cache, which workers and commands should share. A cache that fails is one
that knows nothing.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.utils.crypto import salted_hmac

from ..conf import conf
from ..rows import redis_connection

logger = logging.getLogger(__name__)

WAIT = 0.5  # seconds of a question
T = TypeVar("T")


def get(name: str) -> Any:
    """Return what is known of this name, or None."""
    try:
        at = key(name)
        text = _ask(lambda redis: redis.get(at), lambda cache: cache.get(at))
        return None if text is None else json.loads(text)
    except Exception as error:
        _say(error)
        return None


def put(name: str, value: Any, seconds: int) -> None:
    """Keep a value, which JSON has to know, for some seconds."""
    try:
        at, text = key(name), json.dumps(value)
        _ask(
            lambda redis: redis.set(at, text, ex=seconds),
            lambda cache: cache.set(at, text, seconds),
        )
    except Exception as error:
        _say(error)


def get_fields(name: str, fields: Sequence[str]) -> dict[str, str]:
    """Return the texts that are known of these fields of a name."""

    def of_redis(redis: Any) -> dict[str, str]:
        if not fields or not redis.exists(key(name)):  # as on most days
            return {}
        texts = redis.hmget(key(name), fields)
        pairs = zip(fields, map(_text, texts), strict=True)
        return {field: text for field, text in pairs if text is not None}

    def of_cache(cache: Any) -> dict[str, str]:
        keys = {_key_of_field(name, field): field for field in fields}
        return {keys[at]: text for at, text in cache.get_many(keys).items()}

    try:
        return _ask(of_redis, of_cache)
    except Exception as error:
        _say(error)
        return {}


def put_fields(name: str, values: dict[str, str], seconds: int) -> None:
    """Keep texts as fields of a name: of Redis one hash, kept since its last change."""

    def of_redis(redis: Any) -> None:
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.hset(key(name), mapping=values)
            pipeline.expire(key(name), seconds)
            pipeline.execute()

    def of_cache(cache: Any) -> None:
        keys = {_key_of_field(name, field): text for field, text in values.items()}
        cache.set_many(keys, seconds)

    try:
        if values:
            _ask(of_redis, of_cache)
    except Exception as error:
        _say(error)


def delete_fields(name: str, fields: Sequence[str]) -> None:
    """Forget what is known of these fields of a name."""
    try:
        if fields:
            _ask(
                lambda redis: redis.hdel(key(name), *fields),
                lambda cache: cache.delete_many([_key_of_field(name, f) for f in fields]),
            )
    except Exception as error:
        _say(error)


def be_first(name: str, seconds: float) -> bool:
    """Tell whether nobody else has asked for this name in so many seconds.

    True where the cache fails: better twice than never.
    """
    try:
        milliseconds = int(seconds * 1000)
        return _ask(
            lambda redis: bool(redis.set(key(name), 1, nx=True, px=milliseconds)),
            lambda cache: bool(cache.add(key(name), 1, seconds)),
        )
    except Exception as error:
        _say(error)
        return True


def is_shared() -> bool:
    """Tell whether the processes of the project can share what is kept here."""
    try:
        return not isinstance(caches[conf.redis_name], (LocMemCache, DummyCache))
    except Exception:
        return False


def key(name: str) -> str:
    """Return the key of this project, which others on the same Redis do not have."""
    return f"simpletask2-celery:{_project(settings.SECRET_KEY)}:{name}"


def _key_of_field(name: str, field: str) -> str:
    """Return a key that any cache takes, whatever the field holds."""
    return key(f"{name}:{hashlib.sha256(field.encode()).hexdigest()[:32]}")


def _text(value: str | bytes | None) -> str | None:
    """Return a text that Redis has, with ``decode_responses`` or without."""
    return value.decode() if isinstance(value, bytes) else value


@lru_cache(maxsize=1)
def _project(secret: str) -> str:
    salt = "simpletask2_celery.project_cache"
    return salted_hmac(salt, "", secret, algorithm="sha256").hexdigest()[:12]


def _ask(of_redis: Callable[[Any], T], of_cache: Callable[[Any], T]) -> T:
    """Ask a client of Redis where the cache is one of django-redis, else the cache."""
    from django_redis import get_redis_connection

    try:
        connection = get_redis_connection(conf.redis_name)
    except NotImplementedError:
        return of_cache(caches[conf.redis_name])
    return redis_connection.ask(connection, of_redis, WAIT)


def _say(error: Exception) -> None:
    logger.debug("The project's cache is of no use: %s", type(error).__name__)
