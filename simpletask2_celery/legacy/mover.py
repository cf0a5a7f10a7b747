"""Old producers: move what they push to the original's Redis lists into Celery's queues.

A thread of each worker does it for ``DJANGO_SIMPLETASK2_LEGACY_CHANNELS``, or a process of
the management command. An entry waits in a processing list until its message is sent, so it
is never in memory alone. An entry may be moved twice, after a crash or beside an old server:
its row is claimed once, so the second message does nothing.
"""

import logging
import time
from collections.abc import Iterable
from typing import Any, cast

from kombu.exceptions import OperationalError

from ..conf import conf
from ..publishing import messages, to_celery
from ..recovery.threads import WorkerThread, run_in_worker
from ..rows import lookup
from . import lists

logger = logging.getLogger(__name__)

POLL = 0.25  # seconds between two looks at a list
RECOVER = 10.0  # seconds between two looks at what a dead process had taken
REST = 2.0  # seconds after a failure
PAGE = 500  # entries of one look


class Mover(WorkerThread):
    """Moves the entries of channels until it is stopped."""

    def __init__(self, channels: Iterable[str]) -> None:
        super().__init__("legacy-channels", POLL)
        self._recover_at = dict.fromkeys(channels, 0.0)  # at once: a process may have died
        self._failed: dict[str, float] = {}  # channel: when

    def look(self) -> float:
        """Move a page of each channel; look again at once while one of them is long."""
        counts = [self._look_at(channel) for channel in self._recover_at]
        return 0 if PAGE in counts else POLL

    def _look_at(self, channel: str) -> int:
        """Move a page of one channel, and return its length; a failure stays its own."""
        now = time.monotonic()
        if now - self._failed.get(channel, -REST) < REST:
            return 0
        try:
            if now >= self._recover_at[channel]:
                recover(channel)
                self._recover_at[channel] = now + RECOVER
            count = move(channel)
        except Exception as error:
            if channel not in self._failed:
                why = error if isinstance(error, OperationalError) else type(error).__name__
                text = "The Redis list of channel %s cannot be moved (%s); trying again."
                logger.warning(text, channel, why)
            self._failed[channel] = now
            self._recover_at[channel] = 0.0
            return 0
        if self._failed.pop(channel, None) is not None:
            logger.warning("The Redis list of channel %s is moved again.", channel)
        return count


def move(channel: str) -> int:
    """Send the messages of a page of the channel's list; return their number.

    Raises redis.RedisError, or kombu's OperationalError where the broker takes nothing:
    then the entries stay in the processing list.
    """
    entries = lists.take(channel, PAGE)
    _send(channel, entries)
    return len(entries)


def recover(channel: str) -> None:
    """Send the messages of what was taken and not dealt with. Raises as :func:`move`."""
    while entries := lists.taken(channel, PAGE):
        logger.info("Channel %s: %d entries taken up again.", channel, len(entries))
        _send(channel, entries)


def _send(channel: str, entries: list[bytes]) -> None:
    place = lists.processing(channel)
    sent: list[tuple[bytes, messages.Message]] = []
    for entry in entries:
        try:
            name = entry.decode(errors="surrogateescape")
            model, using, key = lookup.row_of_text(name)
            row = cast(Any, model)(pk=key)
            row._state.db = using
            sent.append((entry, messages.of_row(row, channel)))
        except Exception as error:  # of whatever kind: the entry names no row
            lists.set_aside(channel, entry, place, error)
    if not sent:
        return
    if not to_celery.send([message for _, message in sent], {}):
        raise OperationalError("the broker takes no message")
    lists.drop(channel, [entry for entry, _ in sent], place)


def run_when_ready() -> None:
    """Let this Celery worker move the lists once it is ready, if the setting asks."""
    run_in_worker(lambda _: Mover(conf.legacy_channels) if conf.legacy_channels else None)
