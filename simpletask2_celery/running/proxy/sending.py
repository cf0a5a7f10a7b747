"""The two messages of a proxy request: to an egress worker, and with its answer back to a worker.

Neither needs Django: an egress worker sends as a worker does, by connections that are kept for
this alone and never wait without end. RabbitMQ confirms each message, or nobody would hear that
it has refused one.
"""

import os
import threading
from collections import deque
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu.connection import Connection
from kombu.messaging import Producer

FETCH = "simpletask2_celery.fetch"  # the request, for an egress worker
GO_ON = "simpletask2_celery.go_on"  # the answer, for a worker of the row's queue

AT_ONCE = 4  # messages that a process encodes and sends at a time
WAIT = 10.0  # seconds that an operation of a socket may take


def _once() -> Any:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Retry(NoBackoff(), 0)


class Sender:
    """Sends messages of an app; its connections are kept for the next ones."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._kept: deque[Producer] = deque()
        os.register_at_fork(after_in_child=self._forget_parent)

    def send(
        self, name: str, kwargs: dict[str, Any], shown: str, is_large: bool = False, **options: Any
    ) -> None:
        """Send a message of the task ``name``, whose kwargs logs and events show as ``shown``.

        One that ``is_large`` is sent by a new connection, since one that is dead fails as one does
        that the broker cuts for a size. ``options`` are Celery's. Raises what the broker's client
        does: see ``is_refusal``.
        """
        options |= {
            "serializer": "json",  # whatever the app's is: no worker takes our messages otherwise
            "argsrepr": "()",
            "kwargsrepr": shown,
            "ignore_result": True,
        }
        with self._places:
            kept = None if is_large else self._pop()
            if kept is not None:
                try:
                    return self._send_by(kept, name, kwargs, options)
                except Exception as error:
                    if self.is_refusal(error):
                        raise
                    # It may have been dead: a message that comes twice does nothing.
            self._send_by(self._connected(), name, kwargs, options)

    def _pop(self) -> Producer | None:
        with suppress(IndexError):
            return self._kept.pop()
        return None

    def is_refusal(self, error: BaseException) -> bool:
        """Tell whether the broker has answered, and refused the message."""
        errors = self._connection().channel_errors
        return any(isinstance(one, errors) for one in (error, error.__cause__))

    def connection_errors(self) -> tuple[type[Exception], ...]:
        """Return what the broker's client raises where the broker is away."""
        errors: tuple[type[Exception], ...] = self._connection().connection_errors
        return errors

    def answers(self) -> bool:
        """Tell whether the broker can be connected to."""
        try:
            self._connected().connection.release()
        except Exception:  # of its client
            return False
        return True

    def _send_by(self, producer: Any, name: str, kwargs: Any, options: dict[str, Any]) -> None:
        try:
            self._app.send_task(
                name,
                kwargs=kwargs,
                producer=producer,
                retry=False,
                confirm_timeout=WAIT,
                add_to_parent=False,
                **options,
            )
        except BaseException:
            with suppress(Exception):  # what broke it may do so again
                producer.connection.release()
            raise
        self._kept.append(producer)

    def _connected(self) -> Producer:
        connection = self._connection()
        rest = dict.fromkeys(("interval_start", "interval_step", "interval_max"), 0)
        connection.ensure_connection(max_retries=max(1, len(connection.alt)), **rest)
        producer = Producer(connection, auto_declare=False)
        if hasattr(producer.channel, "conn_or_acquire"):  # of Redis, whose client would try again
            producer.channel.pool.set_retry(_once())
        return producer

    def _connection(self) -> Connection:
        # By default kombu waits without end. Each transport takes its own of these limits.
        waits = ("socket_timeout", "socket_connect_timeout", "read_timeout", "write_timeout")
        options: dict[str, Any] = dict.fromkeys(waits, WAIT)
        options |= {"max_retries": 1, "confirm_publish": True}
        options["body_encoding"] = None  # JSON needs no base64 in the lists of Redis
        new: Connection = self._app.connection_for_write(
            connect_timeout=WAIT, transport_options=options
        )
        return new

    def _forget_parent(self) -> None:
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._kept.clear()
