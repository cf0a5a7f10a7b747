"""Publish rows: after the commit of their database, one message each.

A message carries the row's name and nothing else, so a lost, doubled or late one
does nothing. Publishing therefore never raises and never waits long: what could not
be sent is found by auto-reset. ``DJANGO_SIMPLETASK2_PUBLISH_TO`` says whether the
messages go to Celery, to the original's Redis lists or to both.
"""

import itertools
import logging
import os
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from celery import current_app
from django.db import models, router, transaction
from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.pools import ProducerPool

from . import redis_lists, task_info
from .conf import conf

logger = logging.getLogger(__name__)

DO_TASK = "simpletask2_celery.do_task"
BATCH = 1000  # rows of one batch of messages
BREAK = 5.0  # seconds without publishing after a failure

_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
#: kombu waits without end by default; so long per socket operation keeps a save
#: below 1.5 s, also after a Redis of the lists that did not answer. The keys of the
#: transports do not clash.
_LIMITS: dict[str, Any] = {
    **_RETRY,
    "socket_timeout": 0.4,
    "socket_connect_timeout": 0.4,
    "read_timeout": 0.4,
    "write_timeout": 0.4,
}

_pools: dict[Any, ProducerPool] = {}


class Message(NamedTuple):
    """What is sent of a row: the kwargs of the task, the channel, "app.model:pk".

    The name is None where it would be another row's: it tells no database. ``limits``
    are Celery's time limits, where DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT asks for them.
    """

    kwargs: dict[str, Any]
    channel: str
    name: str | None
    limits: dict[str, float]


class Breaker:
    """A circuit breaker: after a failure nothing is tried for ``BREAK`` seconds."""

    def __init__(self) -> None:
        self._until = 0.0

    def is_open(self) -> bool:
        """Tell whether the last failure is too young to try again."""
        return time.monotonic() < self._until

    def open(self) -> None:
        """Note a failure."""
        self._until = time.monotonic() + BREAK


celery_breaker = Breaker()
lists_breaker = Breaker()


def publish_on_commit(rows: Iterable[models.Model], **options: Any) -> int:
    """Publish saved rows once their database has committed; return their number.

    ``options`` go to ``apply_async`` (countdown, eta, priority, queue). Streams:
    of an iterator not more than 1,000 rows are held at a time.
    """
    count = 0
    rows = iter(rows)
    while page := list(itertools.islice(rows, BATCH)):
        count += len(page)
        by_database: dict[str, list[Message]] = {}
        for row in page:
            using = row._state.db or router.db_for_write(type(row), instance=row)
            by_database.setdefault(using, []).append(message_of(row))
        for using, messages in by_database.items():
            _on_commit(using, messages, options)
    return count


def message_of(row: Any) -> Message:
    """Return the message of a saved row."""
    nameable = row._state.db in (None, router.db_for_write(type(row)))
    name = row.get_task_info() if nameable else None
    limits = time_limits(row.get_do_task_timeout()) if conf.enforce_timeout else {}
    return Message(task_info.message(row), row.get_channel_name(), name, limits)


def time_limits(timeout: float) -> dict[str, float]:
    """Return Celery's limits, in seconds, for a run with a lease of ``timeout``.

    Both come before its end, so that the row is failed while the run still holds it:
    the soft one a tenth of the lease but at most five seconds, the hard one a
    twentieth but at most a second.
    """
    return {
        "soft_time_limit": timeout - min(timeout / 10, 5),
        "time_limit": timeout - min(timeout / 20, 1),
    }


def publish_lost(row: Any, lost_runs: int) -> None:
    """Publish a row whose last run was lost, with the number of those in a row."""
    message = message_of(row)
    _send([message._replace(kwargs={**message.kwargs, "lost_runs": lost_runs})], {})


def check_options(
    countdown: float | None,
    eta: datetime | None,
    priority: int | None,
    queue: str | None,
) -> dict[str, Any]:
    """Return the options that were given.

    Raises TypeError or ValueError for what Celery could only refuse after the
    commit, when nobody is left to be told, and for options where only the Redis
    lists are published to: they have none.
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
    options = {name: value for name, value in given.items() if value is not None}
    if options and conf.publish_to == "redis":
        raise ValueError(
            f"publish() takes {' and '.join(options)} only where rows go to Celery: "
            'set DJANGO_SIMPLETASK2_PUBLISH_TO to "celery" or "both".'
        )
    return options


def _on_commit(using: str, messages: list[Message], options: dict[str, Any]) -> None:
    # A named function with its own arguments: Django 5.2's robust path asks for
    # __qualname__, and a lambda in a loop would publish the last page only.
    def publish_messages() -> None:
        _send(messages, options)

    transaction.on_commit(publish_messages, using=using, robust=True)


def _send(messages: list[Message], options: dict[str, Any]) -> None:
    target = conf.publish_to
    if target != "celery" and not options:  # which the lists cannot keep
        _push_to_lists(messages)
    if target != "redis":
        send_to_celery(messages, options)


def _push_to_lists(messages: list[Message]) -> None:
    if lists_breaker.is_open():
        logger.debug("Redis failed lately: %d rows left to auto-reset.", len(messages))
        return
    entries = [(m.channel, m.name) for m in messages if m.name is not None]
    if len(entries) < len(messages):
        logger.error(
            "%d rows are not in the database that their model is written to: an entry "
            "of a Redis list cannot name them. They are not pushed.",
            len(messages) - len(entries),
        )
    # A save waits for both, and for the timeouts' keys before: 1.5 s in all.
    wait = 0.25 if conf.publish_to == "both" else redis_lists.WAIT
    try:
        redis_lists.push(entries, wait)
    except Exception as error:  # whatever it is, the rows are saved
        lists_breaker.open()
        _say_failed("Redis", type(error).__name__, messages)


def send_to_celery(messages: list[Message], options: dict[str, Any]) -> bool:
    """Send messages now; return False if the broker failed, now or a moment ago."""
    if current_app.conf.task_always_eager:
        for message in messages:
            task = current_app.signature(DO_TASK, kwargs=message.kwargs)
            task.apply_async(**options)
        return True
    if celery_breaker.is_open():
        logger.debug("Broker failed lately: %d rows left to auto-reset.", len(messages))
        return False
    connection = _bounded_connection()
    broken = connection.connection_errors + connection.channel_errors
    try:
        _send_batch(connection, messages, options)
    except (KombuError, OSError, *broken) as error:
        celery_breaker.open()
        _say_failed(f"Broker {connection.as_uri()}", error, messages)
        return False
    return True


def _send_batch(
    connection: Connection, messages: list[Message], options: dict[str, Any]
) -> None:
    with _pool(connection).acquire(block=True, timeout=0.5) as producer:
        with producer.batch(max_size=BATCH):
            for kwargs, channel, _, limits in messages:
                current_app.signature(DO_TASK, kwargs=kwargs).apply_async(
                    producer=producer,
                    retry=True,
                    retry_policy=_RETRY,
                    **{**_queue_of(channel, kwargs), **limits, **options},
                )


def ping() -> None:
    """Connect to the broker. Raises what kombu does where that fails."""
    with _bounded_connection() as connection:
        connection.ensure_connection(timeout=1, **_RETRY)


def workers(timeout: float) -> list[str]:
    """Return the names of the workers that answer within ``timeout`` seconds."""
    with _bounded_connection() as connection:
        answers = current_app.control.ping(timeout=timeout, connection=connection)
    return sorted(name for answer in answers or () for name in answer)


def messages_in_queue(channel: str) -> float:
    """Return how many messages the channel's Celery queue holds.

    Infinitely many where the broker fails, none where it cannot count or has no such
    queue.
    """
    if current_app.conf.task_always_eager:
        return 0
    if celery_breaker.is_open():
        return float("inf")
    connection = _bounded_connection()
    try:
        options = current_app.amqp.router.route(_queue_of(channel, {}), DO_TASK)
        with connection:  # of its own: a refusal would spoil one of the pool
            asking = connection.channel()
            found = asking.queue_declare(options["queue"].name, passive=True)
            return float(found.message_count)
    except connection.channel_errors:
        return 0
    except (KombuError, OSError, *connection.connection_errors):
        return float("inf")
    except Exception:  # a transport that cannot count, a route to no queue of ours
        return 0


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


def _say_failed(what: str, error: object, messages: list[Message]) -> None:
    logger.warning(
        "%s failed (%s): %d rows not published, nor others for %d s; "
        "auto-reset will find them.",
        what,
        error,
        len(messages),
        BREAK,
    )
