"""The queues that rows wait in, and how many workers serve each."""

import math
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from celery import current_app

from ..conf import conf
from ..publishing import broker, messages
from ..publishing.broker import Worker
from ..recovery import hints
from ..rows.model import Row
from . import counts
from .counts import Counts

NAMED = 10  # queues that a line names
_SEEN = "served-queues"  # the hint that says when a worker served each


@dataclass(frozen=True)
class Queue:
    """The Celery queue of a channel's rows; of several models, where these have one queue.

    ``workers`` is how many serve it. ``waiting`` are the READY rows that may run now, and
    ``oldest_seconds`` is the time since the oldest of these was added.
    """

    channel: str
    name: str
    workers: int
    waiting: int = 0
    oldest_seconds: float | None = None


def look(
    rows: Iterable[tuple[type[Row], str, Counts]], workers: list[Worker] | None
) -> list[Queue] | None:
    """Return the queues of rows, each given as model, database and the counts of a channel.

    The queue of "default" is one of them in any case. A channel whose queue is not known has
    none. None where it is not known which queues the workers serve, or rows go to no queue.
    """
    if workers is None or any(one.queues is None for one in workers):
        return None
    if conf.publish_to == "redis" or current_app.conf.task_always_eager:
        return None
    served = Counter(name for one in workers for name in set(one.queues or ()))
    parts: dict[tuple[str, str], list[Counts]] = {}
    if (name := broker.queue_of("default", {})) is not None:
        parts["default", name] = []
    for model, using, one in rows:
        channel = one.channel
        if channel is None:
            continue
        kwargs = messages.kind_of(model, using, channel).kwargs(None)
        if (name := broker.queue_of(channel, kwargs)) is not None:
            parts.setdefault((channel, name), []).append(one)
    sums = {key: counts.total(of_queue) for key, of_queue in parts.items()}
    return [
        Queue(channel, name, served[name], one.waiting, one.oldest_waiting_seconds)
        for (channel, name), one in sums.items()
    ]


def unserved(queues: list[Queue], in_queue: dict[str, float] | None = None) -> list[Queue]:
    """Return the queues without a worker that have rows that wait, or messages.

    ``in_queue`` is {channel: messages}.
    """
    filled = {channel for channel, number in (in_queue or {}).items() if number}
    return [one for one in queues if not one.workers and (one.waiting or one.channel in filled)]


def is_late(queues: list[Queue]) -> bool:
    """Tell whether rows have waited, with no worker, for more than UNSERVED_TIMEOUT seconds.

    A worker that starts anew, or is too busy to answer in time, serves its queues still: for as
    long, the project's cache remembers who did.
    """
    now, limit = time.time(), conf.unserved_timeout
    served = {one.name: str(now) for one in queues if one.workers and one.waiting}
    hints.put_fields(_SEEN, served, math.ceil(limit))
    late = {one.name for one in unserved(queues) if (one.oldest_seconds or 0.0) > limit}
    seen = hints.get_fields(_SEEN, late)
    return any(now - float(seen.get(name, 0)) > limit for name in late)


def names(queues: list[Queue]) -> str:
    """Return the queues' names in a line, not more than ten."""
    every = list(dict.fromkeys(one.name for one in queues))
    return ", ".join([*every[:NAMED], *(["…"] if every[NAMED:] else [])])
