"""Which READY rows only wait in a long queue, and need no second message.

A queue that holds a thousand messages is presumed to hold those of a thousand rows.
Where that is wrong, because the messages are others' or somebody else's tasks, the
rows are published again as soon as the queue is shorter, or after ten times their
``task_wait_timeout``, ten minutes at least.
"""

import datetime

from ..conf import conf
from ..publishing import broker, to_lists
from ..rows import clock
from ..rows.model import Row

PATIENCE = 10  # times task_wait_timeout that a row may be overdue
LEAST = datetime.timedelta(minutes=10)


class Backlog:
    """What one run of auto-reset has found in the queues, less what it has presumed."""

    def __init__(self) -> None:
        self._left: dict[str, float] = {}

    def has(self, row: Row) -> bool:
        """Tell whether the message of a stale row is presumed to be in its queue."""
        if row.status != row.READY or row.auto_reset_time is None:
            return False  # it has run, or was never published
        wait = datetime.timedelta(seconds=row.get_task_wait_timeout())
        overdue = clock.now(str(row._state.db)) - row.auto_reset_time
        if overdue > max(PATIENCE * wait, LEAST):
            return False
        channel = row.get_channel_name()
        if channel not in self._left:
            self._left[channel] = _messages_of(channel)
        self._left[channel] -= 1
        return self._left[channel] >= 0


def _messages_of(channel: str) -> float:
    """Return how many messages wait where the channel is published to.

    Infinitely many where nobody answers: nothing could be published either.
    """
    counts: list[float] = []
    if conf.publish_to != "redis":
        counts.append(broker.messages_in_queue(channel))
    if conf.publish_to != "celery":
        counts.append(_entries_of(channel))
    return min(counts)


def _entries_of(channel: str) -> float:
    try:
        return to_lists.length(channel)
    except Exception:  # as when pushing
        return float("inf")
