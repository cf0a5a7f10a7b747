"""Old producers: move what they push to the original's Redis lists into Celery's queues.

A thread of each worker does it for ``DJANGO_SIMPLETASK2_LEGACY_CHANNELS``, or a
process of the management command. An entry waits in a processing list until its
message is sent, so it is never in memory alone. One that is moved twice, after a
crash or by an old server meanwhile, does nothing: its row is claimed once.
"""

import logging
import threading
import time
from collections.abc import Iterable

from celery import signals

from ..conf import conf
from ..publishing import messages, to_celery, to_lists
from ..rows import task_info
from ..rows.model import Row

logger = logging.getLogger(__name__)

POLL = 0.25  # seconds between two looks at a list
RECOVER = 10.0  # seconds between two looks at what a dead process had taken
REST = 2.0  # seconds after a failure
PAGE = 500  # entries of one look


class Mover(threading.Thread):
    """Moves the entries of channels until it is stopped."""

    def __init__(self, channels: Iterable[str]) -> None:
        super().__init__(name="simpletask2-legacy-channels", daemon=True)
        self.channels = list(channels)
        self._stopped = threading.Event()
        self._recover_at = dict.fromkeys(self.channels, 0.0)  # a process may have died
        self._failed: dict[str, float] = {}  # channel: when

    def stop(self) -> None:
        """Take no entry any more, and end."""
        self._stopped.set()

    def run(self) -> None:
        """Look at each list four times a second, and on while there are many entries."""
        while not self._stopped.is_set():
            moved = [self._look_at(channel) for channel in self.channels]
            self._stopped.wait(0 if PAGE in moved else POLL)

    def _look_at(self, channel: str) -> int:
        """Move a page of one channel, and return its length; a failure stays its own."""
        now = time.monotonic()
        if now - self._failed.get(channel, -REST) < REST:
            return 0
        try:
            if now >= self._recover_at[channel]:
                recover(channel)
                self._recover_at[channel] = now + RECOVER
            moved = move(channel)
        except Exception as error:
            if channel not in self._failed:
                logger.warning(
                    "The Redis list of channel %s cannot be moved (%s); trying again.",
                    channel,
                    error if isinstance(error, _NotSent) else type(error).__name__,
                )
            self._failed[channel] = now
            self._recover_at[channel] = 0.0
            return 0
        if self._failed.pop(channel, None) is not None:
            logger.warning("The Redis list of channel %s is moved again.", channel)
        return moved


class _NotSent(Exception):
    """The broker took no message; the entries stay in the processing list."""


def move(channel: str) -> int:
    """Send the messages of a page of the channel's list; return their number.

    Raises redis.RedisError, or another exception where the broker takes nothing.
    """
    entries = to_lists.take(channel, PAGE)
    _send(channel, entries)
    return len(entries)


def recover(channel: str) -> None:
    """Send the messages of what was taken and not dealt with. Raises as :func:`move`."""
    while entries := to_lists.taken(channel, PAGE):
        logger.info("Channel %s: %d entries taken up again.", channel, len(entries))
        _send(channel, entries)


def _send(channel: str, entries: list[bytes]) -> None:
    place = to_lists.processing(channel)
    good, messages = [], []
    for entry in entries:
        try:
            messages.append(_message(channel, entry))
            good.append(entry)
        except Exception as error:  # whatever it is that cannot be a row's name
            to_lists.set_aside(channel, entry, place, error)
    if not good:
        return
    if not to_celery.send(messages, {}):
        raise _NotSent("the broker takes no message")
    to_lists.drop(channel, good, place)


def _message(channel: str, entry: bytes) -> messages.Message:
    name = entry.decode(errors="surrogateescape")
    model, using, key = task_info.row_of_text(Row, name)
    row = model(pk=key)
    row._state.db = using
    return messages.of_row(row, channel)


_movers: list[Mover] = []


def run_when_ready() -> None:
    """Let this Celery worker move the lists once it is ready, if the setting asks."""
    signals.worker_ready.connect(_start)
    signals.worker_shutting_down.connect(_stop)


def _start(**kwargs: object) -> None:
    if conf.legacy_channels:
        _movers.append(Mover(conf.legacy_channels))
        _movers[-1].start()


def _stop(**kwargs: object) -> None:
    while _movers:
        _movers.pop().stop()
