"""For users' own tests: run a row, answer its requests, look at what was published.

Works with unittest and with pytest, inside a test's transaction or without one, and
needs no broker. The executor that workers use runs the row.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import requests
from django.utils.translation import gettext as translate

from .exceptions import HANDLER_FAILED, DjangoSimpleTask2Error
from .publishing.recorder import Published, PublishedMessage, published
from .rows import clock, databases
from .rows.model import Row
from .running import executor
from .running.proxy.answers import Answer, Unanswered, answering

__all__ = [
    "Answer",
    "Published",
    "PublishedMessage",
    "Run",
    "Unanswered",
    "answering",
    "published",
    "run",
]


R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Run(Generic[R]):
    """How a run ended.

    ``row`` as the database has it now, ``data`` what its last step returned,
    ``requests`` what its proxy steps asked for (``requests.PreparedRequest``, redirects
    included), and ``error`` why it failed, or None.
    """

    row: R
    data: Any
    requests: list[requests.PreparedRequest]
    error: DjangoSimpleTask2Error | None


def run(row: R, proxy: Any = None, throw: bool = True) -> Run[R]:
    """Run a saved READY row to its end, here and now, and load it anew.

    ``proxy`` holds the answers to its proxy requests, as ``answering`` takes them;
    nothing reaches the network.

    A durable row that is retried runs again at once, until it is DONE: nobody sleeps.

    If a handler raises, raises its exception once the row is DONE and unsuccessful. If the
    run fails otherwise, raises DjangoSimpleTask2Error (2910004, 2910007, 2910008, 2910010,
    2910013–2910015). Without ``throw``, ``Run.error`` holds the error instead: that of a
    handler is 2910009, with its exception as the ``__cause__``. Raises ValueError for a
    row that is not saved, and Unanswered for a request that nobody answers.
    """
    if not isinstance(row, Row):
        text = translate("run() takes a row of a SimpleTask model, not {row!r}.")
        raise TypeError(text.format(row=row))
    if row.pk is None or row._state.adding:
        text = translate("{row!r} has no row yet: save it before running it.")
        raise ValueError(text.format(row=row))
    data, error = None, None
    with answering(proxy) as came, clock.this_one():
        try:
            data = executor.run_until_done(type(row), databases.of(row), row.pk)["data"]
        except DjangoSimpleTask2Error as failed:
            error = failed
    with suppress(type(row).DoesNotExist):  # its handler may have deleted it
        row.refresh_from_db()
    if error and throw:
        raise (error.code == HANDLER_FAILED and error.__cause__) or error
    return Run(row, data, came, error)
