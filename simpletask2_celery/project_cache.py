"""Hints that the processes of a project share: in its cache, which may lose them.

In Redis where the cache is one of django-redis, with bounded waits; else through
Django's cache, which workers and commands should share. A cache that fails is one
that knows nothing.
"""

import hashlib
import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.utils.crypto import salted_hmac

from . import redis_connection
from .conf import conf

logger = logging.getLogger(__name__)

WAIT = 0.5  # seconds of an operation


def get(name: str) -> Any:
    """Return what is known of this name, or None."""
    try:
        redis, at = _redis(), key(name)
        text = caches[conf.redis_name].get(at) if redis is None else redis.get(at)
        return None if text is None else json.loads(text)
    except Exception as error:
        _say(error)
        return None


def put(name: str, value: Any, seconds: int) -> None:
    """Keep a value, which JSON has to know, for some seconds."""
    try:
        redis, at, text = _redis(), key(name), json.dumps(value)
        if redis is None:
            caches[conf.redis_name].set(at, text, seconds)
        else:
            redis.set(at, text, ex=seconds)
    except Exception as error:
        _say(error)


def get_fields(name: str, fields: Sequence[str]) -> dict[str, str]:
    """Return the texts that are known of these fields of a name."""
    try:
        if (redis := _redis()) is None:
            keys = {_key_of_field(name, field): field for field in fields}
            known = caches[conf.redis_name].get_many(keys)
            return {keys[at]: text for at, text in known.items()}
        if not fields or not redis.exists(key(name)):  # as on most days
            return {}
        texts = redis.hmget(key(name), fields)
        pairs = zip(fields, map(_text, texts), strict=True)
        return {field: text for field, text in pairs if text is not None}
    except Exception as error:
        _say(error)
        return {}


def put_fields(name: str, values: dict[str, str], seconds: int) -> None:
    """Keep texts as fields of a name: of Redis one hash, kept since its last change."""
    try:
        if (redis := _redis()) is None:
            keys = {_key_of_field(name, field): text for field, text in values.items()}
            caches[conf.redis_name].set_many(keys, seconds)
        elif values:
            with redis.pipeline(transaction=False) as pipeline:
                pipeline.hset(key(name), mapping=values)
                pipeline.expire(key(name), seconds)
                pipeline.execute()
    except Exception as error:
        _say(error)


def delete_fields(name: str, fields: Sequence[str]) -> None:
    """Forget what is known of these fields of a name."""
    try:
        if (redis := _redis()) is None:
            keys = [_key_of_field(name, field) for field in fields]
            caches[conf.redis_name].delete_many(keys)
        elif fields:
            redis.hdel(key(name), *fields)
    except Exception as error:
        _say(error)


def be_first(name: str, seconds: float) -> bool:
    """Tell whether nobody else has asked for this name in so many seconds.

    True where the cache fails: better twice than never.
    """
    try:
        if (redis := _redis()) is not None:
            return bool(redis.set(key(name), 1, nx=True, px=int(seconds * 1000)))
        return caches[conf.redis_name].add(key(name), 1, seconds)
    except Exception as error:
        _say(error)
        return True


def is_shared() -> bool:
    """Tell whether the processes of the project can share what is kept here."""
    try:
        return _redis() is not None or not isinstance(
            caches[conf.redis_name], (LocMemCache, DummyCache)
        )
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


def _redis() -> Any:
    from django_redis import get_redis_connection

    try:
        return redis_connection.bounded(get_redis_connection(conf.redis_name), WAIT)
    except NotImplementedError:
        return None


def _say(error: Exception) -> None:
    logger.debug("The project's cache is of no use: %s", type(error).__name__)
