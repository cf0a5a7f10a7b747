"""Ask others in threads of their own, and wait for none of them longer than it may take.

A resolver, a Sentinel or a client of the user's may be silent without end, and no timeout of
a socket counts that.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import connections
from django.utils.translation import gettext_noop

SILENT = gettext_noop("does not answer")
T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """What came in place of an answer: an exception, whose class is the text, or silence."""

    text: str
    error: Exception = field(default_factory=lambda: TimeoutError(SILENT))


#: Threads that did not answer in time. What hangs still is not asked again.
_hung: dict[str, threading.Thread] = {}


def answer(
    name: str, question: Callable[[], T], seconds: float, late: Callable[[T], None] | None = None
) -> T:
    """Return what ``question``, which must not use the database, returns in a thread of its own.

    Raises what it raises, and TimeoutError where it takes more than ``seconds``, or where the last
    question of this name is under way still. What it returns after that is given to ``late``.
    """
    result: T | Problem = ask({name: question}, seconds, late)[name]
    if isinstance(result, Problem):
        raise result.error
    return result


def ask(
    questions: dict[str, Callable[[], T]], seconds: float, late: Callable[[T], None] | None = None
) -> dict[str, Any]:
    """Return what each question returns, by name, called in threads of their own at once.

    One that raises, or takes more than ``seconds``, has a Problem. Threads that hang are left
    behind, one for each name at most.
    """
    asked = {
        name: _begin(name, question)
        for name, question in questions.items()
        if name not in _hung or not _hung[name].is_alive()
    }
    answers: dict[str, Any] = dict.fromkeys(questions, Problem(SILENT))
    answered, _ = wait([future for _, future in asked.values()], seconds)
    for name, (thread, future) in asked.items():
        if future in answered:
            answers[name] = future.result()
            continue
        _hung[name] = thread
        if late is not None:
            future.add_done_callback(lambda done: _give(done.result(), late))
    return answers


def _begin(name: str, question: Callable[[], Any]) -> tuple[threading.Thread, Future[Any]]:
    """Start a thread that answers a question; a future, which cannot raise, has the answer."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            answer = question()
        except Exception as error:
            answer = Problem(type(error).__name__, error)
        finally:
            connections.close_all()  # this thread's
        future.set_result(answer)

    thread = threading.Thread(target=run, name=f"simpletask2-asks-{name}", daemon=True)
    thread.start()
    return thread, future


def _give(answer: Any, late: Callable[[Any], None]) -> None:
    if not isinstance(answer, Problem):
        late(answer)
