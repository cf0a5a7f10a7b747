"""Publish rows: after the commit of their database, one message each.

A message carries the row's name and nothing else, so a lost, doubled or late one does
nothing. Publishing therefore never raises and never waits long: what could not be sent is
found by auto-reset. ``DJANGO_SIMPLETASK2_PUBLISH_TO`` says whether the messages go to Celery,
to the original's Redis lists or to both.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from celery import current_app
from django.db import connections, models

from ..conf import conf
from ..rows import announcing, clock, transactions
from . import messages as made
from . import to_celery, to_lists
from .messages import Message
from .to_celery import BATCH

logger = logging.getLogger(__name__)

Options = dict[str, Any]
Send = Callable[[list[Message], int, Options], None]


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
        for home, message in made.of_rows(page, using, leave_out):
            by_database.setdefault(home, []).append(message)
        for home, messages in by_database.items():
            _on_commit(home, messages, chunk, options)
    return count


def log_not_ready(row: Any) -> None:
    """Log that a row is not published, because it is not READY."""
    logger.warning(
        "%s is %s, not READY: not published. reset() it first.",
        row.get_task_info(),
        row.get_status_display(),
        extra={"task_info": row.get_task_info()},
    )


# -- what can be asked for -------------------------------------------------------------------


def check_options(
    countdown: float | None,
    eta: datetime | None,
    priority: int | None,
    queue: str | None,
) -> Options:
    """Return the options that were given.

    Raises TypeError or ValueError for what Celery could only refuse after the commit, when
    nobody is left to be told, and for options where only the Redis lists are published to:
    they have none.
    """
    if countdown is not None and eta is not None:
        raise ValueError("publish() takes countdown or eta, not both.")
    if countdown is not None:
        if isinstance(countdown, bool) or not isinstance(countdown, (int, float)):
            raise TypeError(f"countdown must be a number of seconds, not {countdown!r}.")
        if not 0 <= countdown < float("inf"):
            raise ValueError(f"countdown must be 0 seconds or more, not {countdown!r}.")
    if eta is not None:
        if not isinstance(eta, datetime):
            raise TypeError(f"eta must be a datetime, not {eta!r}.")
        eta = clock.aware(eta)  # Celery would take a naive one for UTC
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int)):
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


# -- after the commit ------------------------------------------------------------------------


class Publication:
    """What is to be sent after a commit; the rows of later saves join it."""

    def __init__(self, chunk: int, options: Options) -> None:
        self.how = chunk, options
        self.messages: list[Message] = []
        self.is_sent = False

    def __call__(self) -> None:
        """Send it, once: tests that nest captures of hooks call them more often."""
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
        return
    publication = Publication(chunk, options)
    publication.messages.extend(messages)
    if not transactions.after_commit(using, publication):
        logger.warning(
            "Autocommit is off on database %s, so nobody hears of a commit: %d rows not "
            "published; auto-reset will find them.",
            using,
            len(messages),
        )


def send(messages: list[Message], chunk: int, options: Options) -> None:
    """Send messages to where the settings say, in messages of up to ``chunk`` rows."""
    target = conf.publish_to
    pushed: list[Message] = []
    if target != "celery" and not options:  # which the lists cannot keep
        pushed = to_lists.push(messages)
    if target == "redis" or not to_celery.send(made.chunks(messages, chunk), options):
        announcing.published(pushed)


_send: Send = send


@contextmanager
def sent_by(instead: Send) -> Iterator[Send]:
    """Have ``instead`` send what is published inside; yield what sends it otherwise."""
    global _send
    before, _send = _send, instead
    try:
        yield before
    finally:
        _send = before


def has_failed() -> bool:
    """Tell whether what was published a moment ago may not have arrived."""
    return to_celery.has_failed() or to_lists.breaker.is_open()
