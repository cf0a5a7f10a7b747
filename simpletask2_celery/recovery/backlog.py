"""Which READY rows only wait in a long queue, and need no second message.

A queue that holds a thousand messages is presumed to hold those of a thousand rows. It may
hold other messages instead. Then the rows are published again as soon as the queue is shorter,
or after ten times their ``task_wait_timeout``, ten minutes at least.
"""

import datetime

from ..conf import conf
from ..publishing import broker, to_lists
from ..rows import clock, due
from ..rows.model import Row

PATIENCE = 10  # times task_wait_timeout that a row may be overdue
LEAST = datetime.timedelta(minutes=10)


class Backlog:
    """The messages in each queue, for one auto-reset, less those already presumed."""

    def __init__(self) -> None:
        self._left: dict[str, float] = {}

    def has(self, row: Row) -> bool:
        """Tell whether the message of a due row is presumed to be in its queue."""
        if row.status != row.READY or row.auto_reset_time is None or due.waits_unpublished(row):
            return False  # it has run, or nothing has published it
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
    """Return how many messages wait; infinitely many where nothing could be published."""
    counts: list[float] = []
    if conf.publish_to != "redis":
        counts.append(broker.messages_in_queue(channel))
    if conf.publish_to != "celery":
        try:
            counts.append(to_lists.length(channel))
        except Exception:  # of whatever kind, as in to_lists.push()
            counts.append(float("inf"))
    return min(counts)
