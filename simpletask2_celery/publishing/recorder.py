"""The sender that tests put in the place of the real one: it keeps messages, and sends none."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from celery import current_app
from django.apps import apps
from django.utils.translation import gettext as translate
from django.utils.translation import ngettext

from ..conf import conf
from ..rows import databases, task_info
from ..rows.model import Row
from . import messages, publisher, to_celery
from .messages import Message


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

    def carries(self, row: Row, **options: Any) -> bool:
        """Tell whether the message names this row, with those options that are not None."""
        is_of_table = (type(row), databases.of(row)) == (self.model, self.using)
        has_options = all(value in (None, getattr(self, name)) for name, value in options.items())
        return is_of_table and row.pk in self.ids and has_options

    def __str__(self) -> str:
        names = ", ".join(task_info.text(self.model, pk) for pk in self.ids)
        values = {name: getattr(self, name) for name in ("queue", "countdown", "eta", "priority")}
        return f"{names} ({', '.join(_in_words(values))})"


class Published:
    """What has been published since a ``with published()`` began."""

    def __init__(self) -> None:
        """Begin. What waits for the commit of a test's transaction now is not caught."""
        self._messages: list[PublishedMessage] = []
        #: {publication: the connection on which it waits for a commit}
        self._heard: dict[publisher.Publication, weakref.ref[Any]] = {}

    @property
    def messages(self) -> list[PublishedMessage]:
        """The messages, oldest first.

        Those of an open transaction wait for its commit. The transaction of a TestCase never
        commits: its messages count as published.
        """
        if self in _recording:
            for publication, in_test_only in self._waiting():
                if in_test_only:
                    publication()
        return list(self._messages)

    def assert_published(
        self,
        row: Row,
        queue: str | None = None,
        countdown: float | None = None,
        eta: datetime | None = None,
        priority: int | None = None,
    ) -> list[PublishedMessage]:
        """Assert that the row was published, with the options that are not None.

        Returns the messages that carry it. Raises AssertionError, which lists what was
        published.
        """
        options = {"queue": queue, "countdown": countdown, "eta": eta, "priority": priority}
        carrying = [message for message in self.messages if message.carries(row, **options)]
        if not carrying:
            text = translate("{task_info} was not published{options}. {published}")
            words = "".join(f", {option}" for option in _in_words(options))
            name = row.get_task_info()
            raise AssertionError(text.format(task_info=name, options=words, published=self))
        return carrying

    def assert_not_published(self, *rows: Row) -> None:
        """Assert that none of the rows was published; without rows, nothing at all.

        Raises AssertionError, which lists what was published.
        """
        for message in self.messages:
            if not rows or any(message.carries(row) for row in rows):
                raise AssertionError(str(self))

    def __str__(self) -> str:
        lines = [f"\n  {message}" for message in self.messages]
        text = translate("Published: {messages}")
        text = text.format(messages="".join(lines) or translate("nothing."))
        count = sum(not in_test_only for _, in_test_only in self._waiting())
        if count:
            more = ngettext(
                "{count} publication waits for the commit of a transaction that is open.",
                "{count} publications wait for the commit of a transaction that is open.",
                count,
            )
            text += "\n" + more.format(count=count)
        return text

    def _hear(self, connection: Any, publication: publisher.Publication) -> None:
        # Weak: the connection of a thread that has ended is to be closed.
        self._heard[publication] = weakref.ref(connection)

    def _waiting(self) -> Iterator[tuple[publisher.Publication, bool]]:
        """Yield what waits for a commit, and whether only that of a TestCase's transaction."""
        for publication, reference in list(self._heard.items()):
            connection = reference()
            if connection is None or publication.is_sent:
                continue
            if any(hook[1] is publication for hook in connection.run_on_commit):
                blocks = [getattr(one, "_from_testcase", False) for one in connection.atomic_blocks]
                yield publication, bool(blocks) and all(blocks)


#: Those of the ``published()`` that are not over.
_recording: list[Published] = []


@contextmanager
def published() -> Iterator[Published]:
    """Catch what is published inside, in whatever thread, and send none of it.

    Works in TestCase, whose transaction counts as committed, and in TransactionTestCase, in
    sync and in async tests. In eager mode nothing runs. Inside another ``published()`` both
    catch.
    """
    caught = Published()
    for outer in _recording:
        _ = outer.messages  # of before, which this one is not to catch

    def send(sent: list[Message], chunk: int, options: dict[str, Any]) -> None:
        caught._messages += [_published(one, options) for one in messages.chunks(sent, chunk)]
        if outside is not publisher.send:  # but another recorder's
            outside(sent, chunk, options)

    with publisher.sent_by(send, caught._hear) as outside:
        _recording.append(caught)
        try:
            yield caught
        finally:
            _ = caught.messages  # those of a TestCase's transaction
            _recording.remove(caught)


def _in_words(options: dict[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in options.items() if value is not None]


def _published(message: Message, options: dict[str, Any]) -> PublishedMessage:
    kind, row = message.kind, message.row
    model = apps.get_model(kind.app_label, kind.model)
    keys = row if isinstance(row, list) else [row]
    queue = None
    if conf.publish_to != "redis":
        kwargs = kind.kwargs(row)
        where = {**to_celery.queue_of(kind.channel, kwargs), **options}
        queue = current_app.amqp.router.route(where, messages.DO_TASK, (), kwargs)["queue"].name
    return PublishedMessage(
        model=model,
        ids=tuple(task_info.pk_of_json(model, key) for key in keys),
        using=kind.using or "default",
        channel=kind.channel,
        queue=queue,
        **{name: options.get(name) for name in ("countdown", "eta", "priority")},
    )
