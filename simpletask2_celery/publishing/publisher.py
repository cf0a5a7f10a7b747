"""Publish rows: after the commit of their database, one message each.

A message carries the row's model, key and database and nothing else, so a lost, doubled or
late one does nothing. Publishing therefore never raises and never waits long: auto-reset
finds the rows that could not be sent. ``DJANGO_SIMPLETASK2_PUBLISH_TO`` says whether
messages go to Celery, to the original's Redis lists or to both.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from celery import current_app
from django.db import connections, models
from django.utils import timezone

from ..conf import conf
from ..rows import announcing, clock, due, transactions
from . import to_celery, to_lists
from .messages import Message, chunks, of_rows
from .to_celery import BATCH

logger = logging.getLogger(__name__)

Options = dict[str, Any]
Send = Callable[[list[Message], int, Options], None]
Hear = Callable[[Any, "Publication"], None]


def publish_on_commit(
    rows: Iterable[models.Model],
    chunk: int = 1,
    leave_out: bool = False,
    using: str | None = None,
    **options: Any,
) -> int:
    """Publish saved rows once their database has committed; return their number.

    They are in the database ``using``, or where a router writes them. With ``leave_out``,
    rows whose own methods raise are logged, and the others published. A message of Celery
    carries up to ``chunk`` rows of a kind. ``options`` go to ``apply_async``. Of an iterator,
    not more than 1,000 messages are held at a time.

    A durable row that is not due yet has a message with its time, or none (``rows.due``).
    """
    count = 0
    rows = iter(rows)
    while page := list(itertools.islice(rows, BATCH * chunk)):
        count += len(page)
        alike: dict[tuple[str, datetime | None], list[Message]] = {}
        for home, message, moment in of_rows(page, using, leave_out):
            if moment is None or not due.is_kept_by_row(moment):
                alike.setdefault((home, moment), []).append(message)
        for (home, moment), messages in alike.items():
            when = {} if moment is None else {"eta": clock.aware(moment)}
            _on_commit(home, messages, chunk, options | when)
    return count


def log_not_ready(row: Any) -> None:
    """Log that a row is not published, because it is not READY."""
    name, status = row.get_task_info(), row.get_status_display()
    text = "%s is %s, not READY: not published. reset() it first."
    logger.warning(text, name, status, extra={"task_info": name})


#: {option of publish(): its types, and what it takes in words}
_OPTIONS: dict[str, tuple[Any, str]] = {
    "countdown": ((int, float), "a number of seconds"),
    "eta": (datetime, "a datetime"),
    "priority": (int, "an int"),
    "queue": (str, "the name of a queue"),
}


def check_delay(countdown: Any, eta: Any) -> datetime | None:
    """Return the time that a ``countdown`` in seconds or an ``eta`` leads to, as columns have it.

    None without either. Raises TypeError or ValueError as :func:`check_options` does.
    """
    options = check_options(countdown=countdown, eta=eta)
    try:
        if "countdown" in options:
            return clock.after(timezone.now(), options["countdown"])
    except OverflowError:
        raise ValueError(f"countdown is too far ahead: {countdown!r} seconds.") from None
    return clock.stored(options["eta"]) if options else None


def check_options(**values: Any) -> Options:
    """Return the options of publish() that are not None.

    Raises TypeError or ValueError for what Celery could only refuse after the commit, when
    nobody is left to be told; and for any option where rows go to the Redis lists alone.
    """
    options = {name: value for name, value in values.items() if value is not None}
    for name, value in options.items():
        types, takes = _OPTIONS[name]
        if isinstance(value, bool) or not isinstance(value, types) or value == "":
            raise TypeError(f"{name} must be {takes}, not {value!r}.")
    if "countdown" in options and "eta" in options:
        raise ValueError("publish() takes countdown or eta, not both.")
    if not 0 <= options.get("countdown", 0) < float("inf"):
        raise ValueError(f"countdown must be 0 seconds or more, not {options['countdown']!r}.")
    if "eta" in options:
        options["eta"] = clock.aware(options["eta"])  # Celery would take a naive one for UTC
    if options and conf.publish_to == "redis":
        raise ValueError(
            f"publish() takes {' and '.join(options)} only where rows go to Celery: "
            'set DJANGO_SIMPLETASK2_PUBLISH_TO to "celery" or "both".'
        )
    return options


def check_chunk(chunk: int) -> None:
    """Raise TypeError or ValueError where a message cannot carry ``chunk`` rows."""
    if isinstance(chunk, bool) or not isinstance(chunk, int):
        raise TypeError(f"chunk must be a number of rows (int), not {chunk!r}.")
    if not 1 <= chunk <= BATCH:
        raise ValueError(f"chunk must be 1 to {BATCH} rows, not {chunk!r}.")
    if chunk > 1 and conf.enforce_timeout:
        raise ValueError(
            "publish_many() takes no chunk where DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT is "
            "True: Celery limits a message's time, and so it may carry one row only."
        )


class Publication:
    """Messages to be sent after a commit; the rows of later saves join them."""

    def __init__(self, messages: list[Message], chunk: int, options: Options) -> None:
        self.messages = messages
        self.how = chunk, options
        self.is_sent = False

    def __call__(self) -> None:
        """Send them once: tests that nest captures of hooks call hooks more often."""
        if self.is_sent:
            return
        self.is_sent = True
        try:
            _send(self.messages, *self.how)
        except Exception:
            app = current_app.conf
            if app.task_always_eager and app.task_eager_propagates:
                raise
            logger.exception("Rows were not published; auto-reset will find them.")


def _on_commit(using: str, messages: list[Message], chunk: int, options: Options) -> None:
    connection = connections[using]
    hooks = connection.run_on_commit
    last = hooks[-1][1] if hooks else None
    # One hook per transaction and savepoint stack. Not inside a TestCase's transaction,
    # where tests capture hooks one by one.
    if (
        isinstance(last, Publication)
        and not last.is_sent
        and last.how == (chunk, options)
        and hooks[-1][0] == set(connection.savepoint_ids)
        and not any(getattr(b, "_from_testcase", False) for b in connection.atomic_blocks)
    ):
        last.messages.extend(messages)
        _tell(connection, last)
        return
    publication = Publication(messages, chunk, options)
    _tell(connection, publication)
    if not transactions.after_commit(using, publication):
        text = (
            "Autocommit is off on database %s, so nobody hears of a commit. Rows not published: "
            "%d; auto-reset will find them."
        )
        logger.warning(text, using, len(messages))


def _tell(connection: Any, publication: Publication) -> None:
    for hear in _hearers:
        hear(connection, publication)


def send(messages: list[Message], chunk: int, options: Options) -> None:
    """Send messages to where the settings say, in messages of up to ``chunk`` rows."""
    target = conf.publish_to
    pushed: list[Message] = []
    if target != "celery" and not options:  # the lists cannot keep options
        pushed = to_lists.push(messages)
    if target == "redis" or not to_celery.send(chunks(messages, chunk), options):
        announcing.published(pushed)


_send: Send = send
_hearers: list[Hear] = []


@contextmanager
def sent_by(instead: Send, hear: Hear) -> Iterator[Send]:
    """Have ``instead`` send what is published in the block; yield the usual sender.

    ``hear`` is told of each publication and its connection, before its commit: connections
    belong to threads, and no thread finds those of another.
    """
    global _send
    before, _send = _send, instead
    _hearers.append(hear)
    try:
        yield before
    finally:
        _hearers.remove(hear)
        _send = before


def has_failed() -> bool:
    """Tell whether what was published a moment ago may not have arrived."""
    return to_celery.has_failed() or to_lists.breaker.is_open()
