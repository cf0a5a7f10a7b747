"""Publish rows: after the commit of their database, one message each.

A message carries the row's name and nothing else, so a lost, doubled or late one
does nothing. Publishing therefore never raises and never waits long: what could not
be sent is found by auto-reset. ``DJANGO_SIMPLETASK2_PUBLISH_TO`` says whether the
messages go to Celery, to the original's Redis lists or to both.
"""

import itertools
import logging
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from datetime import datetime
from typing import Any, NamedTuple

from celery import current_app
from django.db import connections, models, router
from kombu.exceptions import BatchPublishError, KombuError, OperationalError

from . import (
    clock,
    databases,
    deadline,
    exceptions,
    prebuilt,
    producers,
    redis_lists,
    savepoint,
    signals,
    task_info,
)
from .conf import conf
from .prebuilt import DO_TASK, Kind
from .redis_push import BATCH

logger = logging.getLogger(__name__)

BREAK = 5.0  # seconds without publishing after a failure
#: What amqp calls a queue's name of over 255 bytes, beside struct.error: no connection's.
_OF_A_NAME = frozenset({"FrameSyntaxError"})
MOST_REFUSED = 1000  # channels that are known to be refused


class Message(NamedTuple):
    """What is sent of a row: its kind, its primary key as JSON, "app.model:pk".

    The name is None where it would be another row's, for it tells no database. Of a
    message of many rows ``row`` is a list, and ``name`` is None.
    """

    kind: Kind
    row: Any
    name: str | None = None


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


def publish_on_commit(
    rows: Iterable[models.Model],
    chunk: int = 1,
    leave_out: bool = False,
    using: str | None = None,
    **options: Any,
) -> int:
    """Publish saved rows once their database has committed; return their number.

    They are in the database ``using``, or in the one that a router writes each to.
    With ``leave_out``, rows whose own methods raise are logged, and the others published.
    ``chunk`` is how many rows of a kind a message of Celery carries at most;
    ``options`` go to ``apply_async`` (countdown, eta, priority, queue). Streams:
    of an iterator not more than 1,000 messages are held at a time.
    """
    count = 0
    rows = iter(rows)
    while page := list(itertools.islice(rows, BATCH * chunk)):
        count += len(page)
        by_database: dict[str, list[Message]] = {}
        for home, message in _messages_of(page, using, leave_out):
            by_database.setdefault(home, []).append(message)
        for home, messages in by_database.items():
            _on_commit(home, messages, chunk, options)
    return count


def message_of(row: Any, channel: str | None = None) -> Message:
    """Return the message of a saved row; to another channel than its own, if given."""
    [(_, message)] = _messages_of([row], row._state.db)
    if channel is None:
        return message
    return message._replace(kind=message.kind._replace(channel=channel))


def _messages_of(
    rows: Iterable[Any], using: str | None, leave_out: bool = False
) -> Iterator[tuple[str, Message]]:
    """Yield database and message of each row; what rows share is asked for once."""
    known: dict[Any, tuple[str, bool, Kind]] = {}
    for row in rows:
        try:
            made = _message_of(row, using, known)
        except Exception as error:  # of a method of the row's own
            if not leave_out:
                raise
            name = task_info.text(type(row), row.pk)
            text = exceptions.in_words(error)
            about = {"task_info": name}
            logger.error("%s is not published: %s", name, text, extra=about)
        else:
            yield made


def _message_of(
    row: Any, using: str | None, known: dict[Any, tuple[str, bool, Kind]]
) -> tuple[str, Message]:
    what = type(row), row._state.db, row.get_channel_name()
    if what not in known:
        home = using or databases.of(row)
        meta, named = row._meta, None if home == "default" else home
        kind = Kind(meta.app_label, meta.model_name, named, what[2])
        known[what] = home, home == router.db_for_write(type(row)), kind
    database, nameable, kind = known[what]
    if conf.enforce_timeout:
        soft, hard = time_limits(row.get_do_task_timeout())
        kind = kind._replace(soft_time_limit=soft, time_limit=hard)
    is_named = nameable and conf.publish_to != "celery"
    name = row.get_task_info() if is_named else None
    return database, Message(kind, task_info.json_id(row), name)


def time_limits(timeout: float) -> tuple[float, float]:
    """Return Celery's soft and hard limit, in seconds, for a lease of ``timeout``.

    Both come before its end, so that the row is failed while the run still holds it:
    the hard one a second (or a quarter of a short lease), the soft one four seconds (or
    a tenth) earlier.
    """
    hard = timeout - min(timeout / 4, 1)
    return hard - min(timeout / 10, 4), hard


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
    if eta is not None:  # Celery would take a naive one for UTC
        eta = clock.aware(eta)
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


def check_chunk(chunk: int) -> None:
    """Raise TypeError or ValueError for what cannot be a number of rows of a message."""
    if isinstance(chunk, bool) or not isinstance(chunk, int):
        raise TypeError(f"chunk must be a number of rows (int), not {chunk!r}.")
    if not 1 <= chunk <= BATCH:
        raise ValueError(f"chunk must be 1 to {BATCH} rows, not {chunk!r}.")
    if chunk > 1 and conf.enforce_timeout:
        raise ValueError(
            "publish_many() takes no chunk where DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT is "
            "True: Celery limits a message's time, and so it may carry one row only."
        )


class _Publication:
    """What is to be sent after a commit; the rows of later saves join it."""

    def __init__(self, chunk: int, options: dict[str, Any]) -> None:
        self.how = chunk, options
        self.messages: list[Message] = []
        self.is_sent = False

    def __call__(self) -> None:
        if self.is_sent:  # tests that nest captures of hooks run them more than once
            return
        self.is_sent = True
        try:
            _send(self.messages, *self.how)
        except Exception:
            app = current_app.conf
            if app.task_always_eager and app.task_eager_propagates:
                raise
            logger.exception("Rows were not published; auto-reset will find them.")


def _on_commit(
    using: str, messages: list[Message], chunk: int, options: dict[str, Any]
) -> None:
    connection = connections[using]
    hooks = connection.run_on_commit
    last = hooks[-1][1] if hooks else None
    within = set(connection.savepoint_ids)
    # One for all saves that share a transaction, and the fate of its savepoints. But for
    # a test's own transaction: tests capture the hooks of parts of it.
    if (
        isinstance(last, _Publication)
        and not last.is_sent
        and last.how == (chunk, options)
        and hooks[-1][0] == within
        and not any(getattr(b, "_from_testcase", False) for b in connection.atomic_blocks)
    ):
        last.messages.extend(messages)
        return
    publication = _Publication(chunk, options)
    publication.messages.extend(messages)
    if not savepoint.after_commit(using, publication):
        logger.warning(
            "Autocommit is off on database %s, so nobody hears of a commit: %d rows not "
            "published; auto-reset will find them.",
            using,
            len(messages),
        )


def _send(messages: list[Message], chunk: int, options: dict[str, Any]) -> None:
    target = conf.publish_to
    pushed: list[Message] = []
    if target != "celery" and not options:  # which the lists cannot keep
        pushed = _push_to_lists(messages)
    if target == "redis" or not send_to_celery(
        _chunks(messages, chunk) if chunk > 1 else messages, options
    ):
        signals.published(pushed)


def _chunks(messages: list[Message], size: int) -> list[Message]:
    """Return messages that carry up to ``size`` rows of a kind each."""
    by_kind: dict[Kind, list[Any]] = {}
    for message in messages:
        by_kind.setdefault(message.kind, []).append(message.row)
    return [
        Message(kind, rows[start : start + size])
        for kind, rows in by_kind.items()
        for start in range(0, len(rows), size)
    ]


def _push_to_lists(messages: list[Message]) -> list[Message]:
    """Push what has a name; return what was pushed."""
    if lists_breaker.is_open():
        logger.debug("Redis failed lately: %d rows left to auto-reset.", len(messages))
        return []
    named = [message for message in messages if message.name is not None]
    entries = [(m.kind.channel, m.name) for m in messages if m.name is not None]
    if len(entries) < len(messages):
        logger.error(
            "%d rows are not in the database that their model is written to: an entry "
            "of a Redis list cannot name them. They are not pushed.",
            len(messages) - len(entries),
        )
    try:
        with deadline.waiting(share=1 / 4) as seconds:
            redis_lists.push(entries, seconds)
    except Exception as error:  # whatever it is, the rows are saved
        lists_breaker.open()
        _say_failed("Redis", type(error).__name__, len(messages))
        return []
    return named


def send_to_celery(messages: list[Message], options: dict[str, Any]) -> bool:
    """Send messages now; return False if some were not sent: the broker failed.

    Now or a moment ago; as a whole, or by refusing one channel's queue. The messages of
    other channels are sent all the same. Raises what no broker has raised, at the end.
    """
    if current_app.conf.task_always_eager:
        _run_eagerly(messages, options)
        return True
    if celery_breaker.is_open():
        logger.debug("Broker failed lately: %d messages left to auto-reset.", len(messages))
        return False
    allowed = [one for one in messages if not _is_refused(one.kind.channel)]
    if not allowed:
        return False
    try:
        _send_batch(allowed, options)
    except Exception as error:
        if _has_lost_the_broker(error):
            celery_breaker.open()
            _say_failed(f"Broker {producers.connection().as_uri()}", error, _rows(allowed))
            return False
        return _send_apart(allowed, options, error)
    signals.published(allowed)
    return len(allowed) == len(messages)


def _send_apart(messages: list[Message], options: dict[str, Any], error: Exception) -> bool:
    """Send the messages of each channel by themselves: one's were refused, by ``error``."""
    by_channel: dict[str, list[Message]] = {}
    for message in messages:
        by_channel.setdefault(message.kind.channel, []).append(message)
    if len(by_channel) == 1:
        if not _is_of_the_broker(error):
            raise error
        [channel] = by_channel
        _refuse(channel)
        _say_refused(channel, error, _rows(messages))
        return False
    failures: list[Exception] = []
    sent = []
    for some in by_channel.values():
        try:
            sent.append(send_to_celery(some, options))
        except Exception as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
    return all(sent)


def _has_lost_the_broker(error: Exception) -> bool:
    """Tell whether no other message would be sent either."""
    connection = producers.connection()
    if any(isinstance(one, connection.channel_errors) for one in (error, error.__cause__)):
        return False
    lost = (OSError, OperationalError, BatchPublishError, *connection.connection_errors)
    return isinstance(error, lost) and type(error).__name__ not in _OF_A_NAME


def _is_of_the_broker(error: Exception) -> bool:
    connection = producers.connection()
    broken = (*connection.connection_errors, *connection.channel_errors)
    return isinstance(error, (KombuError, OSError, struct.error, *broken))


def _rows(messages: list[Message]) -> int:
    return sum(len(m.row) if isinstance(m.row, list) else 1 for m in messages)


#: Of channels whose queue was refused lately: when they may be tried again.
_refused: dict[str, Breaker] = {}


def _refuse(channel: str) -> None:
    if len(_refused) >= MOST_REFUSED:
        _refused.clear()
    _refused.setdefault(channel, Breaker()).open()


def _is_refused(channel: str) -> bool:
    return channel in _refused and _refused[channel].is_open()


def _run_eagerly(messages: list[Message], options: dict[str, Any]) -> None:
    """Run the rows here and now; with task_eager_propagates raise the first failure.

    The other rows run all the same, as they would on a worker.
    """
    failures: list[Exception] = []
    for message in messages:
        kwargs = message.kind.kwargs(message.row)
        signals.published([message])  # there is no broker: it runs in this call
        try:
            current_app.signature(DO_TASK, kwargs=kwargs).apply_async(**options)
        except Exception as error:
            if failures:
                logger.error("%s", error)
            failures.append(error)
    if failures:
        raise failures[0]


def _send_batch(messages: list[Message], options: dict[str, Any]) -> None:
    """Send messages; once more where the connection was a kept one, and the broker failed.

    It may be dead, or lead to a server that is no primary any more. Some may be sent twice
    then, which does nothing.
    """
    producer = producers.kept()
    if producer is not None:
        try:
            _send_by(producer, messages, options)
            return
        except Exception as error:
            if not _is_of_the_broker(error):
                raise
            deadline.waited()
    with deadline.waiting() as seconds:
        producer = producers.connected(seconds)
    _send_by(producer, messages, options)


def _send_by(producer: Any, messages: list[Message], options: dict[str, Any]) -> None:
    with producers.lent(producer):
        with prebuilt.sender(producer, options) as send:
            for kind, row, _ in messages:
                send(kind, row)


def has_failed() -> bool:
    """Tell whether what was published a moment ago may not have arrived."""
    refused = any(breaker.is_open() for breaker in list(_refused.values()))
    return refused or celery_breaker.is_open() or lists_breaker.is_open()


def ping() -> None:
    """Connect to the broker. Raises what its client does where that fails."""
    producers.connected(conf.publish_timeout).connection.release()


def workers(timeout: float) -> list[str] | None:
    """Return the names of the workers that answer within ``timeout`` seconds.

    None where they cannot be asked: Celery's remote control is off. By a connection that
    is made now: after a failover, one that was kept may lead to the old broker.
    """
    if not current_app.conf.worker_enable_remote_control:
        return None
    producer = producers.connected(conf.publish_timeout)
    with producer.connection as connection:
        mailbox = current_app.control.mailbox(connection)
        # Celery would take a producer of its pool, which waits without end.
        mailbox.producer_or_acquire = lambda *_, **__: nullcontext(producer)
        answers = mailbox.multi_call("ping", timeout=timeout)
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
    connection = producers.connection()
    try:
        queue = prebuilt.queue_of(channel, {})
        options = current_app.amqp.router.route(queue, DO_TASK)
        producer = producers.connected(conf.publish_timeout)
        with producer.connection:  # its own: a refusal would spoil one that is kept
            asking = producer.channel
            # Redis creates nothing: a queue is a list there. Asked whether there is one,
            # kombu forgets the project's prefix of keys.
            passive = not hasattr(asking, "conn_or_acquire")
            found = asking.queue_declare(options["queue"].name, passive=passive)
            return float(found.message_count)
    except connection.channel_errors:
        return 0
    except (KombuError, OSError, *connection.connection_errors):
        return float("inf")
    except Exception:  # a transport that cannot count, a route to no queue of ours
        return 0


def _say_failed(what: str, error: object, rows: int) -> None:
    logger.warning(
        "%s failed (%s): %d rows not published, nor others for %d s; "
        "auto-reset will find them.",
        what,
        error,
        rows,
        BREAK,
    )


def _say_refused(channel: str, error: object, rows: int) -> None:
    queue = prebuilt.queue_of(channel, {}).get("queue", "of the default")
    logger.warning(
        "The broker refuses queue %s (%s): %d rows of channel %s not published, nor "
        "others for %d s; auto-reset will find them.",
        task_info.short(queue),
        error,
        rows,
        task_info.short(channel),
        BREAK,
    )
