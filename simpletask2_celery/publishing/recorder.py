"""What was published, for a test to look at: caught where it would leave the process."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery import current_app
from django.apps import apps
from django.db import connections
from django.utils.translation import gettext as translate
from django.utils.translation import ngettext

from ..conf import conf
from ..rows import databases, task_info
from ..rows.model import Row
from . import messages, publisher, to_celery
from .messages import Message

_OPTIONS = ("queue", "countdown", "eta", "priority")


@dataclass(frozen=True)
class PublishedMessage:
    """A message as Celery would have got it: of one row, or of a chunk of many.

    ``ids`` are the rows' primary keys, ``using`` the alias of their database.
    ``queue`` is where Celery would have routed it, None where rows go to the original's
    Redis lists alone. ``countdown`` is in seconds.
    """

    model: type[Row]
    ids: tuple[Any, ...]
    using: str
    channel: str
    queue: str | None
    countdown: float | None
    eta: datetime | None
    priority: int | None

    def carries(self, row: Row) -> bool:
        """Tell whether the message names this row."""
        home = databases.of(row)
        return (type(row), home) == (self.model, self.using) and row.pk in self.ids

    def __str__(self) -> str:
        names = ", ".join(task_info.text(self.model, pk) for pk in self.ids)
        given = {name: getattr(self, name) for name in _OPTIONS}
        options = [f"{name}={value!r}" for name, value in given.items() if value is not None]
        return f"{names} ({', '.join(options)})"


class Published:
    """What has been published since a ``with published()`` began."""

    def __init__(self) -> None:
        """Begin. What waits for the commit of a test's transaction came before."""
        self._messages: list[PublishedMessage] = []
        self._before = [hook for hook, _ in _waiting()]
        self._is_over = False

    @property
    def messages(self) -> list[PublishedMessage]:
        """The messages, oldest first.

        Those of a transaction that is open wait for its commit; that of a TestCase,
        which never comes, is taken for done.
        """
        if not self._is_over:
            for hook, in_test_only in _waiting():
                if in_test_only and hook not in self._before:
                    hook()
        return list(self._messages)

    def assert_published(
        self,
        row: Row,
        queue: str | None = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        priority: int | None = None,
    ) -> list[PublishedMessage]:
        """Assert that the row was published, with the options that are given.

        Returns the messages that carry it. Raises AssertionError, which lists what was
        published.
        """
        wanted = _given((queue, countdown, eta, priority))
        found = [
            message
            for message in self.messages
            if message.carries(row)
            and all(getattr(message, name) == value for name, value in wanted.items())
        ]
        if not found:
            text = translate("{task_info} was not published{options}. {published}")
            options = "".join(f", {name}={value!r}" for name, value in wanted.items())
            name = row.get_task_info()
            shown = text.format(task_info=name, options=options, published=self)
            raise AssertionError(shown)
        return found

    def assert_not_published(self, *rows: Row) -> None:
        """Assert that none of the rows was published; without rows, nothing at all.

        Raises AssertionError, which lists what was published.
        """
        found = [
            message
            for message in self.messages
            if not rows or any(message.carries(row) for row in rows)
        ]
        if found:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        lines = [f"\n  {message}" for message in self.messages]
        text = translate("Published: {messages}")
        said = text.format(messages="".join(lines) or translate("nothing."))
        count = sum(not hook.is_sent for hook, in_test_only in _waiting() if not in_test_only)
        if count:
            text = ngettext(
                "{count} publication waits for the commit of a transaction that is open.",
                "{count} publications wait for the commit of a transaction that is open.",
                count,
            )
            said += "\n" + text.format(count=count)
        return said

    def _end(self) -> None:
        _ = self.messages  # of hooks that nobody catches later
        self._is_over = True

    def _note(self, sent: list[Message], chunk: int, options: dict[str, Any]) -> None:
        self._messages += [_published(message, options) for message in messages.chunks(sent, chunk)]


@contextmanager
def published() -> Iterator[Published]:
    """Catch what is published inside, and send none of it, eager mode included.

    Works in TestCase, whose transaction counts as committed, and in TransactionTestCase.
    Inside another one both catch.
    """
    caught = Published()

    def send(sent: list[Message], chunk: int, options: dict[str, Any]) -> None:
        caught._note(sent, chunk, options)
        if otherwise is not publisher.send:  # another one's
            otherwise(sent, chunk, options)

    with publisher.sent_by(send) as otherwise:
        try:
            yield caught
        finally:
            caught._end()


def _waiting() -> Iterator[tuple[publisher.Publication, bool]]:
    """Return what waits for a commit, and whether it is for a TestCase's alone."""
    for connection in connections.all(initialized_only=True):
        blocks = connection.atomic_blocks
        in_test_only = all(getattr(block, "_from_testcase", False) for block in blocks)
        for entry in list(connection.run_on_commit):
            if isinstance(entry[1], publisher.Publication):
                yield entry[1], in_test_only


def _given(options: Iterable[Any]) -> dict[str, Any]:
    named = zip(_OPTIONS, options, strict=True)
    return {name: value for name, value in named if value is not None}


def _published(message: Message, options: dict[str, Any]) -> PublishedMessage:
    kind, row = message.kind, message.row
    model = apps.get_model(kind.app_label, kind.model)
    keys = row if isinstance(row, list) else [row]
    kwargs = kind.kwargs(row)
    where = {**to_celery.queue_of(kind.channel, kwargs), **options}
    queue = None
    if conf.publish_to != "redis":
        routed = current_app.amqp.router.route(where, messages.DO_TASK, (), kwargs)
        queue = routed["queue"].name
    return PublishedMessage(
        model=model,
        ids=tuple(task_info.pk_of_json(model, key) for key in keys),
        using=kind.using or "default",
        channel=kind.channel,
        queue=queue,
        countdown=options.get("countdown"),
        eta=options.get("eta"),
        priority=options.get("priority"),
    )
