"""Whether an egress worker serves each queue of proxy requests."""

import math
import time

from celery import current_app

from ..conf import conf
from ..publishing import broker
from ..recovery import hints
from ..rows.model import task_models
from ..running import requesting

_SEEN = "egress-queues"  # the hint that says when a worker served each


def queues() -> list[str]:
    """Return the queues of the project's models, by name; those of single rows are not known."""
    if current_app.conf.task_always_eager:
        return []
    names = {requesting.queue_of(model) for model in task_models()}
    return sorted(name for name in names if isinstance(name, str))


def serving(timeout: float) -> dict[str, int] | None:
    """Return {queue: workers that answer}; None where nobody can ask them.

    Each queue's workers have ``timeout`` seconds to answer.
    """
    found: dict[str, int] = {}
    for queue in queues():
        workers = broker.workers(timeout, queue)
        if workers is None:
            return None
        found[queue] = sum(queue in (one.queues or ()) for one in workers)
    return found


def unserved(found: dict[str, int]) -> list[str]:
    """Return the queues without a worker."""
    return [queue for queue, workers in found.items() if not workers]


def is_late(found: dict[str, int]) -> bool:
    """Tell whether a queue has had no worker for more than UNSERVED_TIMEOUT seconds, or never."""
    now, limit = time.time(), conf.unserved_timeout
    served = {queue: str(now) for queue, workers in found.items() if workers}
    hints.put_fields(_SEEN, served, math.ceil(limit))
    seen = hints.get_fields(_SEEN, unserved(found))
    return any(now - float(seen.get(queue, 0)) > limit for queue in unserved(found))
