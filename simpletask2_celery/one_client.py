"""Have a worker's channel of Redis keep one client: kombu makes two for each message.

Each copies all of redis-py's callbacks, a fifth of what a message costs the worker's
parent. The client kept is the one that kombu makes, and takes its connections from the
channel's own pool, as each of them does. Other transports have nothing of the kind.
"""

from contextlib import nullcontext
from typing import Any

from celery import bootsteps


class OneClient(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of Celery's consumer: it starts with every connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Look after the channel that messages are taken from and acknowledged by."""
        channel = parent.task_consumer.channel
        if hasattr(channel, "conn_or_acquire") and hasattr(channel, "_create_client"):
            kept = channel._create_client()
            channel.conn_or_acquire = lambda client=None: nullcontext(client or kept)


def add_to(app: Any) -> None:
    """Give the step to an app whose worker is about to begin."""
    app.steps["consumer"].add(OneClient)
