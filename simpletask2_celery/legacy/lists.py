"""Take entries from the original's Redis lists, which ``publishing.to_lists`` describes.

An entry that was taken stays in a list of its own until it is dealt with, so that it is never
in memory alone.
"""

import logging
from collections.abc import Iterable

from ..publishing import to_lists

logger = logging.getLogger(__name__)

_AS_BYTES = {"NEVER_DECODE": True}  # redis.client.NEVER_DECODE: an entry may be anything


def processing(channel: str) -> str:
    """Return the key of the list of entries that were taken and not dealt with yet."""
    return f"simpletask2-celery:processing:{to_lists.list_of(channel)}"


def malformed(channel: str) -> str:
    """Return the key of the list of entries that name no row, kept for inspection."""
    return f"simpletask2-celery:malformed:{to_lists.list_of(channel)}"


def take(channel: str, count: int) -> list[bytes]:
    """Move up to ``count`` entries, oldest first, to the processing list; return them."""
    move = "LMOVE", to_lists.list_of(channel), processing(channel), "LEFT", "RIGHT"
    client = to_lists.client()
    first = client.execute_command(*move, **_AS_BYTES)
    if first is None:
        return []
    pipeline = client.pipeline(transaction=False)
    for _ in range(count - 1):
        pipeline.execute_command(*move, **_AS_BYTES)
    return [entry for entry in (first, *pipeline.execute()) if entry is not None]


def taken(channel: str, count: int) -> list[bytes]:
    """Return up to ``count`` entries that somebody took and has not dealt with."""
    return _range(processing(channel), count)


def oldest(channel: str) -> bytes | None:
    """Return the entry that is next in the channel's list, and leave it there."""
    return next(iter(_range(to_lists.list_of(channel), 1)), None)


def drop(channel: str, entries: Iterable[bytes], place: str) -> None:
    """Forget entries that have been dealt with: one of each in the list ``place``."""
    pipeline = to_lists.client().pipeline()
    for entry in entries:
        pipeline.srem(to_lists.flags_of(channel), entry)
        pipeline.lrem(place, 1, entry)
    pipeline.execute()


def set_aside(channel: str, entry: bytes, place: str, error: Exception) -> None:
    """Keep an entry that names no row where a person can look at it, and say so."""
    kept = malformed(channel)
    to_lists.client().rpush(kept, entry)
    drop(channel, [entry], place)
    logger.error("Channel %s: entry moved to the Redis list %s: %s", channel, kept, error)


def _range(key: str, count: int) -> list[bytes]:
    entries: list[bytes] = to_lists.client().execute_command(
        "LRANGE", key, 0, count - 1, **_AS_BYTES
    )
    return entries
