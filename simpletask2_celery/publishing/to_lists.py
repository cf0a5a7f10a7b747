"""Push the names of rows to the original's Redis lists, where its own servers take them.

Section 7 of the compatibility page. An entry is the plain text "app.model:pk"; a set of flags
beside each list holds what was pushed. ``legacy.lists`` takes entries.
"""

import logging
from functools import partial
from typing import Any

from ..conf import conf
from ..rows import deadline, redis_connection
from ..rows.deadline import Breaker
from .messages import Message

logger = logging.getLogger(__name__)

BREAK = 5.0  # seconds without pushing after a failure
PAGE = 1000  # entries that are pushed together

breaker = Breaker(BREAK)


def list_of(channel: str) -> str:
    """Return the key of the channel's list."""
    return conf.channel_name_template.format(channel=channel)


def flags_of(channel: str) -> str:
    """Return the key of the set beside it."""
    return conf.channel_flags_template.format(channel=channel)


def client() -> Any:
    """Return a client to the project's Redis whose operations have limits."""
    return redis_connection.bounded(redis_connection.of_project())


def length(channel: str) -> int:
    """Return how many entries the channel's list holds."""
    return int(client().llen(list_of(channel)))


def push(messages: list[Message]) -> list[Message]:
    """Push names of rows as the original does; return the messages of those. Never raises."""
    if breaker.is_open():
        logger.debug("Redis failed lately. Rows left to auto-reset: %d.", len(messages))
        return []
    named = [message for message in messages if message.name is not None]
    if unnamed := len(messages) - len(named):
        text = (
            "Rows not pushed: %d. They are not in the database that their model is written to, "
            "and an entry of a Redis list cannot name that."
        )
        logger.error(text, unnamed)
    try:
        with deadline.waiting(share=1 / 4) as seconds:
            for start in range(0, len(named), PAGE):
                page = partial(_push, named[start : start + PAGE])
                redis_connection.ask(redis_connection.of_project(), page, seconds)
    except Exception as error:  # whatever it is, the rows are saved
        breaker.open()
        logger.warning(
            "Redis failed (%s). Rows not published: %d, and those of the next %d s; "
            "auto-reset will find them.",
            type(error).__name__,
            len(messages),
            BREAK,
        )
        return []
    return named


def _push(messages: list[Message], redis: Any) -> None:
    pipeline = redis.pipeline(transaction=False)
    for message in messages:
        pipeline.sadd(flags_of(message.kind.channel), message.name)
        pipeline.rpush(list_of(message.kind.channel), message.name)
    pipeline.execute()
