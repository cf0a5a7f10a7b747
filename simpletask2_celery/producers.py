"""Connections to the broker for publishing: kept open, and with bounded waits."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from celery import current_app
from kombu.connection import Connection
from kombu.messaging import Producer

RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: kombu waits without end by default; so long per socket operation keeps a save
#: below 1.5 s, also after a Redis of the lists that did not answer. The keys of the
#: transports do not clash.
_LIMITS: dict[str, Any] = {
    **RETRY,
    "socket_timeout": 0.4,
    "socket_connect_timeout": 0.4,
    "read_timeout": 0.4,
    "write_timeout": 0.4,
}


class Idle(NamedTuple):
    """Producers that nobody uses now, how many to keep, and the process that made them."""

    process: int
    most: int
    producers: deque[Producer]


_idle: WeakKeyDictionary[Any, Idle] = WeakKeyDictionary()


def connection() -> Connection:
    """Return a connection of its own, not yet connected."""
    made: Connection = current_app.connection_for_write(
        connect_timeout=1, transport_options=_LIMITS
    )
    return made


@contextmanager
def borrow() -> Iterator[Producer]:
    """Lend a producer to one thread, and keep it connected for the next one.

    Nobody waits for one: there are as many as threads publish at once, of which
    ``broker_pool_limit`` (10 where it is not set) stay. One that failed does not.
    """
    idle = _idle_producers()
    try:
        producer = idle.producers.pop()
    except IndexError:
        producer = Producer(connection())
    try:
        yield producer
    except BaseException:
        producer.connection.release()
        raise
    if len(idle.producers) < idle.most:
        idle.producers.append(producer)
    else:
        producer.connection.release()


def _idle_producers() -> Idle:
    app = current_app._get_current_object()
    known = _idle.get(app)
    if known is None or known.process != os.getpid():  # a parent's sockets mix answers
        most = app.conf.broker_pool_limit or 10
        known = _idle[app] = Idle(os.getpid(), most, deque())
    return known


def keep_client(channel: Any) -> None:
    """Have a channel of Redis keep one client: kombu makes one for each message.

    That costs as much as the message; other transports have nothing of the kind.
    """
    if hasattr(channel, "conn_or_acquire") and "conn_or_acquire" not in vars(channel):
        kept = channel.Client(connection_pool=channel.pool, single_connection_client=True)
        channel.conn_or_acquire = lambda client=None: nullcontext(client or kept)
