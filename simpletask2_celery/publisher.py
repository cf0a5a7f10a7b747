"""Publish rows: after the commit of their database, one Celery message each.

A message carries the row's name and nothing else, so a lost, doubled or late one
does nothing. Publishing therefore never raises and never waits long: what could not
be sent is found by auto-reset.
"""

import itertools
import logging
import os
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from celery import current_app
from django.db import models, router, transaction
from kombu.connection import Connection
from kombu.exceptions import LimitExceeded, OperationalError
from kombu.pools import ProducerPool

from . import task_info
from .conf import conf

logger = logging.getLogger(__name__)

DO_TASK = "simpletask2_celery.do_task"
BATCH = 1000  # rows of one batch of messages
BREAK = 5.0  # seconds without publishing after a failure

_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: kombu waits without end by default; half a second per socket operation keeps a
#: save below 1.5 s. The keys of the transports do not clash.
_LIMITS: dict[str, Any] = {
    **_RETRY,
    "socket_timeout": 0.5,
    "socket_connect_timeout": 0.5,
    "read_timeout": 0.5,
    "write_timeout": 0.5,
}

_pools: dict[Any, ProducerPool] = {}
_broken_until = 0.0


def publish_on_commit(rows: Iterable[models.Model], **options: Any) -> int:
    """Publish saved rows once their database has committed; return their number.

    ``options`` go to ``apply_async`` (countdown, eta, priority, queue). Streams:
    of an iterator not more than 1,000 rows are held at a time.
    """
    count = 0
    rows = iter(rows)
    while page := list(itertools.islice(rows, BATCH)):
        count += len(page)
        by_database: dict[str, list[tuple[dict[str, Any], str]]] = {}
        for row in page:
            using = row._state.db or router.db_for_write(type(row), instance=row)
            message = task_info.message(row), row.get_channel_name()  # type: ignore[attr-defined]
            by_database.setdefault(using, []).append(message)
        for using, messages in by_database.items():
            _on_commit(using, messages, options)
    return count


def check_options(
    countdown: float | None,
    eta: datetime | None,
    priority: int | None,
    queue: str | None,
) -> dict[str, Any]:
    """Return the options that were given.

    Raises TypeError or ValueError for what Celery could only refuse after the
    commit, when nobody is left to be told.
    """
    if countdown is not None and eta is not None:
        raise ValueError("publish() takes countdown or eta, not both.")
    if countdown is not None and (
        isinstance(countdown, bool) or not isinstance(countdown, (int, float))
    ):
        raise TypeError(f"countdown must be a number of seconds, not {countdown!r}.")
    if countdown is not None and not 0 <= countdown < float("inf"):
        raise ValueError(f"countdown must be 0 seconds or more, not {countdown!r}.")
    if eta is not None and not isinstance(eta, datetime):
        raise TypeError(f"eta must be a datetime, not {eta!r}.")
    if priority is not None and (
        isinstance(priority, bool) or not isinstance(priority, int)
    ):
        raise TypeError(f"priority must be an int, not {priority!r}.")
    if queue is not None and not (isinstance(queue, str) and queue):
        raise TypeError(f"queue must be the name of a queue, not {queue!r}.")
    given = {"countdown": countdown, "eta": eta, "priority": priority, "queue": queue}
    return {name: value for name, value in given.items() if value is not None}


def _on_commit(
    using: str, messages: list[tuple[dict[str, Any], str]], options: dict[str, Any]
) -> None:
    # A named function with its own arguments: Django 5.2's robust path asks for
    # __qualname__, and a lambda in a loop would publish the last page only.
    def publish_messages() -> None:
        _send(messages, options)

    transaction.on_commit(publish_messages, using=using, robust=True)


def _send(messages: list[tuple[dict[str, Any], str]], options: dict[str, Any]) -> None:
    if current_app.conf.task_always_eager:
        for kwargs, _ in messages:
            current_app.signature(DO_TASK, kwargs=kwargs).apply_async(**options)
        return
    if time.monotonic() < _broken_until:
        logger.debug("Broker failed lately: %d rows left to auto-reset.", len(messages))
        return
    connection = _bounded_connection()
    broken = connection.connection_errors + connection.channel_errors
    try:
        _send_batch(connection, messages, options)
    except (OperationalError, LimitExceeded, OSError, *broken) as error:
        _break_circuit(connection, messages, error)


def _send_batch(
    connection: Connection,
    messages: list[tuple[dict[str, Any], str]],
    options: dict[str, Any],
) -> None:
    with _pool(connection).acquire(block=True, timeout=0.5) as producer:
        with producer.batch(max_size=BATCH):
            for kwargs, channel in messages:
                current_app.signature(DO_TASK, kwargs=kwargs).apply_async(
                    producer=producer,
                    retry=True,
                    retry_policy=_RETRY,
                    **{**_queue_of(channel, kwargs), **options},
                )


def _queue_of(channel: str, kwargs: dict[str, Any]) -> dict[str, str]:
    """Return the queue of a channel: none for "default" and where a route has one."""
    if channel == "default":
        return {}
    task_router = current_app.amqp.router
    route = task_router.lookup_route(DO_TASK, (), kwargs, {}, None)
    if route:
        return {}
    return {"queue": conf.queue_template.format(channel=channel)}


def _bounded_connection() -> Connection:
    connection: Connection = current_app.connection_for_write(
        connect_timeout=1, transport_options=_LIMITS
    )
    return connection


def _pool(connection: Connection) -> ProducerPool:
    # Of this process: a socket shared with the parent of a fork would mix answers.
    key = os.getpid(), connection.as_uri(include_password=True)
    if key not in _pools:
        limit = current_app.conf.broker_pool_limit or 10
        _pools[key] = ProducerPool(connection.Pool(limit), limit=limit)
    return _pools[key]


def _break_circuit(
    connection: Connection, messages: list[Any], error: BaseException
) -> None:
    global _broken_until
    _broken_until = time.monotonic() + BREAK
    logger.warning(
        "Broker %s failed (%s): %d rows not published, nor others for %d s; "
        "auto-reset will find them.",
        connection.as_uri(),
        error,
        len(messages),
        BREAK,
    )
