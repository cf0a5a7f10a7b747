"""The original's Redis lists: where its producers push rows and its servers take them.

Compatibility facts, section 7. An entry is the plain text "app.model:pk"; a set of
flags beside each list holds what was pushed. What we take stays in a list of its own
until it is dealt with, so that an entry is never in memory alone.
"""

import logging
from collections.abc import Iterable
from functools import partial
from typing import Any

from ..conf import conf
from ..rows import deadline, redis_connection
from ..rows.deadline import Breaker
from .messages import Message

logger = logging.getLogger(__name__)

BREAK = 5.0  # seconds without pushing after a failure
PAGE = 1000  # entries that are pushed together
_AS_BYTES = {"NEVER_DECODE": True}  # redis.client.NEVER_DECODE: an entry may be anything
PROCESSING = "simpletask2-celery:processing:{list}"
MALFORMED = "simpletask2-celery:malformed:{list}"


def list_of(channel: str) -> str:
    """Return the key of the channel's list."""
    return conf.channel_name_template.format(channel=channel)


def flags_of(channel: str) -> str:
    """Return the key of the set beside it."""
    return conf.channel_flags_template.format(channel=channel)


def processing(channel: str) -> str:
    """Return the key of the list of entries that were taken and not dealt with yet."""
    return PROCESSING.format(list=list_of(channel))


def malformed(channel: str) -> str:
    """Return the key of the list of entries that name no row, kept for inspection."""
    return MALFORMED.format(list=list_of(channel))


breaker = Breaker(BREAK)


def push(messages: list[Message]) -> list[Message]:
    """Push the names of rows, as the original does; return the messages of those pushed.

    Never raises: what is not pushed is found by auto-reset.
    """
    if breaker.is_open():
        logger.debug("Redis failed lately: %d rows left to auto-reset.", len(messages))
        return []
    named = [message for message in messages if message.name is not None]
    if len(named) < len(messages):
        logger.error(
            "%d rows are not in the database that their model is written to: an entry "
            "of a Redis list cannot name them. They are not pushed.",
            len(messages) - len(named),
        )
    try:
        with deadline.waiting(share=1 / 4) as seconds:
            for start in range(0, len(named), PAGE):
                page = [(one.kind.channel, one.name) for one in named[start : start + PAGE]]
                redis_connection.ask(_connection(), partial(_push, page), seconds)
    except Exception as error:  # whatever it is, the rows are saved
        breaker.open()
        logger.warning(
            "Redis failed (%s): %d rows not published, nor others for %d s; "
            "auto-reset will find them.",
            type(error).__name__,
            len(messages),
            BREAK,
        )
        return []
    return named


def _push(entries: list[tuple[str, str | None]], redis: Any) -> None:
    pipeline = redis.pipeline(transaction=False)
    for channel, name in entries:
        pipeline.sadd(flags_of(channel), name)
        pipeline.rpush(list_of(channel), name)
    pipeline.execute()


def take(channel: str, count: int) -> list[bytes]:
    """Move up to ``count`` entries, oldest first, to the processing list; return them."""
    move = "LMOVE", list_of(channel), processing(channel), "LEFT", "RIGHT"
    first = _client().execute_command(*move, **_AS_BYTES)
    if first is None:
        return []
    pipeline = _client().pipeline(transaction=False)
    for _ in range(count - 1):
        pipeline.execute_command(*move, **_AS_BYTES)
    return [entry for entry in (first, *pipeline.execute()) if entry is not None]


def taken(channel: str, count: int) -> list[bytes]:
    """Return up to ``count`` entries that somebody took and has not dealt with."""
    look = "LRANGE", processing(channel), 0, count - 1
    entries: list[bytes] = _client().execute_command(*look, **_AS_BYTES)
    return entries


def length(channel: str) -> int:
    """Return how many entries the channel's list holds."""
    return int(_client().llen(list_of(channel)))


def oldest(channel: str) -> bytes | None:
    """Return the entry that is next in the channel's list, and leave it there."""
    look = "LINDEX", list_of(channel), 0
    entry: bytes | None = _client().execute_command(*look, **_AS_BYTES)
    return entry


def drop(channel: str, entries: Iterable[bytes], place: str) -> None:
    """Forget entries that have been dealt with: one of each in the list ``place``."""
    pipeline = _client().pipeline()
    for entry in entries:
        pipeline.srem(flags_of(channel), entry)
        pipeline.lrem(place, 1, entry)
    pipeline.execute()


def set_aside(channel: str, entry: bytes, place: str, error: Exception) -> None:
    """Keep an entry that names no row where a person can look at it, and say so."""
    kept = malformed(channel)
    _client().rpush(kept, entry)
    drop(channel, [entry], place)
    logger.error("Channel %s: entry moved to the Redis list %s: %s", channel, kept, error)


def _client() -> Any:
    return redis_connection.bounded(_connection())


def _connection() -> Any:
    from django_redis import get_redis_connection

    return get_redis_connection(conf.redis_name)
