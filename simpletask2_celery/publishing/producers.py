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

_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class Idle:
    """Producers that an app keeps in this process while nobody uses them.

    ``urls`` are the app's brokers, the one that answered last first.
    """

    def __init__(self, app: Any) -> None:
        self.process = os.getpid()  # a parent's sockets would mix answers
        self.urls = _urls(app)
        self._producers: deque[Producer] = deque()
        self._most = app.conf.broker_pool_limit or 10

    def pop(self) -> Producer | None:
        """Return a producer that is kept, if any."""
        try:
            return self._producers.pop()
        except IndexError:
            return None

    def keep(self, producer: Producer) -> None:
        """Keep a producer for the next one, or close it where there are enough."""
        if len(self._producers) < self._most:
            self._producers.append(producer)
        else:
            producer.connection.release()


_idle: WeakKeyDictionary[Any, Idle] = WeakKeyDictionary()


def connection(app: Any = None, url: str | None = None) -> Connection:
    """Return a connection of its own, not yet connected.

    ``app`` is the Celery app, by default the current one; ``url`` one of its brokers, by
    default all. kombu waits without end by default. Each transport takes its own of these
    limits.
    """
    wait = deadline.operation()
    limits = {
        **_RETRY,
        "socket_timeout": wait,
        "socket_connect_timeout": wait,
        "read_timeout": wait,
        "write_timeout": wait,
    }
    made: Connection = (app or current_app).connection_for_write(
        url, connect_timeout=wait, transport_options=limits
    )
    return made


def kept() -> Producer | None:
    """Return a producer whose connection was kept, if any; to be lent."""
    return _of_this_process().pop()


def connected(seconds: float) -> Producer:
    """Return a producer that is connected now, to the first broker that answers.

    Each of several brokers gets its share of the ``seconds``. A connection that comes later is
    kept for the next one. Raises what the last broker has raised; OperationalError where none
    did in time.
    """
    app = current_app._get_current_object()
    idle = _of_this_process()
    left = seconds
    last: Exception = OperationalError(f"no connection in {seconds:.1f} s")
    for number, url in enumerate(idle.urls):
        share = left / (len(idle.urls) - number)
        connect = partial(_connected, app, url)
        began = time.monotonic()
        try:
            producer = at_once.answer(f"broker {id(idle)} {url}", connect, share, idle.keep)
        except TimeoutError:
            pass
        except Exception as error:
            last = error
        else:
            idle.urls = [url, *(other for other in idle.urls if other != url)]
            return producer
        left -= time.monotonic() - began
    raise last


@contextmanager
def lent(producer: Producer) -> Iterator[Producer]:
    """Lend a producer to one thread, and keep it connected for the next one.

    A thread waits for no other one's: there are as many as publish at once, of which
    ``broker_pool_limit`` (10 where it is not set) stay. One that failed does not.
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
    """Import what threads need: two that import redis at once refuse each other."""
    with suppress(Exception):  # which the threads say
        connection()


def _of_this_process() -> Idle:
    app = current_app._get_current_object()
    idle = _idle.get(app)
    if idle is None or idle.process != os.getpid():
        idle = _idle[app] = Idle(app)
    return idle


def _urls(app: Any) -> list[str | None]:
    """Return the app's brokers; of Sentinels one for all, who are asked together."""
    one = connection(app)
    urls = list(one.alt)
    return urls if len(urls) > 1 and one.transport_cls != "sentinel" else [None]


def _connected(app: Any, url: str | None) -> Producer:
    with NoFork():
        producer = Producer(connection(app, url))
        channel = producer.channel  # which connects
        fast.keep_one_client(channel)
        if hasattr(channel, "conn_or_acquire"):  # of Redis: messages take a pool of their own
            with channel.conn_or_acquire() as client:
                client.ping()
    return producer
