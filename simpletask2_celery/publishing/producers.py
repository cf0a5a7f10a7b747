"""Connections to the broker for publishing: kept open, and with bounded waits."""

import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from threading import Lock, Thread
from typing import Any
from weakref import WeakKeyDictionary

from celery import current_app
from kombu.connection import Connection
from kombu.exceptions import OperationalError
from kombu.messaging import Producer

from .. import fast
from ..rows import deadline
from ..rows.no_fork import NoFork

_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}


class Idle:
    """Producers that an app's process keeps while nobody uses them.

    ``urls`` are the app's brokers, the one that answered last first. ``hung`` are threads
    that connect to one when nobody waits for them any more.
    """

    def __init__(self, app: Any) -> None:
        self.process = os.getpid()  # a parent's sockets would mix answers
        self.urls = _urls(app)
        self.hung: dict[str | None, Thread] = {}
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
    default all. kombu waits without end by default; the keys of the transports do not
    clash.
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

    Each of several brokers gets its share of the ``seconds``. Raises what the last one
    has raised; OperationalError where none did in time.
    """
    app = current_app._get_current_object()
    return _Race(app, _of_this_process()).winner(seconds)


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
        _close(producer)
        raise
    idle.keep(producer)


def import_transport() -> None:
    """Import what threads need: two that import redis at once refuse each other."""
    with suppress(Exception):  # which the threads say
        connection()


def _of_this_process() -> Idle:
    app = current_app._get_current_object()
    known = _idle.get(app)
    if known is None or known.process != os.getpid():
        known = _idle[app] = Idle(app)
    return known


def _urls(app: Any) -> list[str | None]:
    """Return the app's brokers; of Sentinels one for all, who are asked together."""
    known = connection(app)
    urls = list(known.alt)
    return urls if len(urls) > 1 and known.transport_cls != "sentinel" else [None]


def _connect(channel: Any) -> None:
    """Connect what sends a channel's messages: of Redis, that is a pool of its own."""
    fast.keep_one_client(channel)
    if hasattr(channel, "conn_or_acquire"):
        with channel.conn_or_acquire() as client:
            client.ping()


def _close(producer: Producer) -> None:
    with suppress(Exception):  # what broke it may do so again
        producer.connection.release()


class _Race:
    """Threads that connect to a broker each, and one that waits for the first to succeed.

    A resolver may take ten seconds for a name, and a name have many addresses at which
    nobody answers: no timeout of a socket counts these. A thread that is too slow is left
    behind, one for each broker at most; what it connects late is kept.
    """

    def __init__(self, app: Any, idle: Idle) -> None:
        self._app = app
        self._idle = idle
        self._threads: dict[str | None, Thread] = {}
        self._found: Queue[tuple[str | None, Producer | Exception]] = Queue()
        self._lock = Lock()
        self._pending = 0  # of whom nothing has been found yet
        self._is_over = False
        self._error: Exception | None = None

    def winner(self, seconds: float) -> Producer:
        """Return a producer; raise where there is none within so many seconds."""
        end = time.monotonic() + seconds
        hung = self._idle.hung
        urls = [url for url in self._idle.urls if url not in hung or not hung[url].is_alive()]
        try:
            for left in range(len(urls), 0, -1):
                self._start(urls[-left])
                now = time.monotonic()
                producer = self._wait(now + (end - now) / left)
                if producer is not None:
                    return producer
            raise self._error or OperationalError(f"no connection in {seconds:.1f} s")
        finally:
            self._leave()

    def _wait(self, end: float) -> Producer | None:
        """Wait until one has connected, all who try have failed, or the time is over."""
        while self._pending and (left := end - time.monotonic()) > 0:
            with suppress(Empty):
                url, found = self._found.get(timeout=left)
                self._pending -= 1
                if isinstance(found, Producer):
                    others = [other for other in self._idle.urls if other != url]
                    self._idle.urls = [url, *others]  # for the next one
                    return found
                self._error = found
        return None

    def _start(self, url: str | None) -> None:
        thread = Thread(target=self._connect, args=(url,), daemon=True)
        self._threads[url] = thread
        self._pending += 1
        thread.start()

    def _connect(self, url: str | None) -> None:
        found: Producer | Exception
        try:
            with NoFork():
                found = Producer(connection(self._app, url))
                _connect(found.channel)
        except Exception as error:
            found = error
        with self._lock:
            if not self._is_over:
                del self._threads[url]
                self._found.put((url, found))
                return
        self._keep(found)

    def _leave(self) -> None:
        with self._lock:
            self._is_over = True
            self._idle.hung.update(self._threads)
        while not self._found.empty():
            self._keep(self._found.get()[1])

    def _keep(self, found: Producer | Exception) -> None:
        if isinstance(found, Producer):
            self._idle.keep(found)
