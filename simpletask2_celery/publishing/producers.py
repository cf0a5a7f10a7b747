"""Connections to the broker for publishing: kept open, and with bounded waits."""

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from celery import current_app
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

from .. import fast
from ..rows import at_once, deadline
from ..rows.no_fork import NoFork


class Idle:
    """Producers that an app keeps in this process while nobody uses them."""

    def __init__(self, app: Any) -> None:
        self.process = os.getpid()  # a child must not use its parent's sockets
        self.urls = _urls(app)  # the one that answered last comes first
        self._producers: deque[Producer] = deque()
        self._most = app.conf.broker_pool_limit or 10

    def pop(self) -> Producer | None:
        """Return a producer that is kept, if any."""
        with suppress(IndexError):
            return self._producers.pop()
        return None

    def keep(self, producer: Producer) -> None:
        """Keep a producer for the next one, or close it where there are enough."""
        if len(self._producers) < self._most:
            self._producers.append(producer)
        else:
            producer.connection.release()


_idle: WeakKeyDictionary[Any, Idle] = WeakKeyDictionary()


def connection(app: Any = None, url: str | None = None) -> Connection:
    """Return a connection of an app that is not connected yet: to a broker, or to them all."""
    wait = deadline.operation()
    # By default kombu waits without end. Each transport takes its own of these limits.
    waits = ("socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout")
    limits = {
        "max_retries": 1,
        **dict.fromkeys(("interval_start", "interval_step", "interval_max"), 0),
        **dict.fromkeys(waits, wait),
    }
    new: Connection = (app or current_app).connection_for_write(
        url, connect_timeout=wait, transport_options=limits
    )
    return new


def kept() -> Producer | None:
    """Return a producer whose connection was kept, if any; to be lent."""
    return _of_this_process().pop()


def connected(seconds: float) -> Producer:
    """Return a producer that is connected now, to the first broker that answers.

    The brokers share the ``seconds``. A connection that comes too late is kept for the next
    caller. Raises the last broker's error, or OperationalError where none came in time.
    """
    app = current_app._get_current_object()
    idle = _of_this_process()
    end = time.monotonic() + seconds
    last: Exception = OperationalError(f"no connection in {seconds:.1f} s")
    for number, url in enumerate(idle.urls):
        share = (end - time.monotonic()) / (len(idle.urls) - number)
        connect = partial(_connected, app, url)
        try:
            producer = at_once.answer(f"broker {id(idle)} {url}", connect, share, idle.keep)
        except TimeoutError:
            continue
        except Exception as error:
            last = error
            continue
        idle.urls = [url, *(other for other in idle.urls if other != url)]
        return producer
    raise last


@contextmanager
def lent(producer: Producer) -> Iterator[Producer]:
    """Lend a producer to one thread, and keep it connected for the next one.

    No thread waits for another: each that publishes has a producer, and of these
    ``broker_pool_limit`` (10 where it is not set) stay. A producer that failed is closed.
    """
    idle = _of_this_process()
    try:
        yield producer
    except BaseException:
        with suppress(Exception):  # what broke it may do so again
            producer.connection.release()
        raise
    idle.keep(producer)


def import_transport() -> None:
    """Import the transport before threads do: two that import redis at once block each other."""
    with suppress(Exception):  # the threads will raise it
        connection()


def _of_this_process() -> Idle:
    app = current_app._get_current_object()
    idle = _idle.get(app)
    if idle is None or idle.process != os.getpid():
        idle = _idle[app] = Idle(app)
    return idle


def _urls(app: Any) -> list[str | None]:
    """Return the app's brokers; [None] for a single one, and for Sentinels, asked together."""
    one = connection(app)
    urls = list(one.alt)
    return urls if len(urls) > 1 and one.transport_cls != "sentinel" else [None]


def _connected(app: Any, url: str | None) -> Producer:
    with NoFork():
        producer = Producer(connection(app, url))
        channel = producer.channel  # which connects
        fast.keep_one_client(channel, single_connection=True)
        if hasattr(
            channel, "conn_or_acquire"
        ):  # of Redis: publishing uses a pool of its own, opened here and not in a save
            with channel.conn_or_acquire() as client:
                client.pipeline().ping().execute()  # a batch has a connection of its own
    return producer
