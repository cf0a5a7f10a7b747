"""One Redis client for all messages of a channel: kombu makes a new one for each use.

Each new client copies all of redis-py's callbacks, which costs as much as a message. Channels of
other brokers are left as they are. tests/integration/fast/test_one_client.py fails when kombu no
longer needs this.
"""

from contextlib import nullcontext
from typing import Any

from celery import bootsteps


def keep_one(channel: Any, single_connection: bool = False) -> None:
    """Have a channel of Redis use one client, which takes connections from its pool.

    With ``single_connection`` the client keeps one: the channel is one thread's at a time.
    """
    if hasattr(channel, "conn_or_acquire"):
        kept = channel.Client(
            connection_pool=channel.pool, single_connection_client=single_connection
        )
        channel.conn_or_acquire = lambda client=None: nullcontext(client or kept)


class OneClient(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no types
    """A step of Celery's consumer, which starts with every connection to the broker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Keep one client for the channel that takes and acknowledges messages."""
        keep_one(parent.task_consumer.channel)
