"""Ask others in threads of their own, and wait for none of them longer than it may take.

A resolver, a Sentinel or a client of the user's may be silent without end, and no timeout of
a socket counts that.
"""

import threading
import time
from collections.abc import Callable
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


#: Questions that were not answered in time. Those under way still are not asked again.
_hung: dict[str, threading.Thread] = {}


def answer(
    name: str,
    question: Callable[[], T],
    seconds: float,
    late: Callable[[T], None] | None = None,
) -> T:
    """Return what ``question`` returns, called in a thread of its own.

    Raises what it raises, and TimeoutError where it takes more than ``seconds``, or where the
    last question of this name is under way still. What it returns then is given to ``late``.
    It must not use the database.
    """
    answers = ask({name: question}, seconds, late)
    result: T | Problem = answers[name]
    if isinstance(result, Problem):
        raise result.error
    return result


def ask(
    questions: dict[str, Callable[[], Any]],
    seconds: float,
    late: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Return what each question returns, by name, called in threads of their own at once.

    One that raises, or takes more than ``seconds``, has a Problem. Threads that hang are left
    behind, one for each name at most.
    """
    asked = {
        name: _Question(name, question, late)
        for name, question in questions.items()
        if name not in _hung or not _hung[name].is_alive()
    }
    end = time.monotonic() + seconds
    answers: dict[str, Any] = dict.fromkeys(questions, Problem(SILENT))
    for name, question in asked.items():
        answers[name] = question.wait(max(0.0, end - time.monotonic()))
    return answers


class _Question(threading.Thread):
    """A function that is called in a thread, and who waits for its answer."""

    def __init__(
        self, name: str, question: Callable[[], Any], late: Callable[[Any], None] | None
    ) -> None:
        super().__init__(name=f"simpletask2-asks-{name}", daemon=True)
        self._key, self._question, self._late = name, question, late
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._answer: Any = Problem(SILENT)
        self._is_late = False
        self.start()

    def wait(self, seconds: float) -> Any:
        """Return the answer, or a Problem after so many seconds: it is too late then."""
        self._answered.wait(seconds)
        with self._lock:
            if not self._answered.is_set():
                self._is_late = True
                _hung[self._key] = self
            return self._answer

    def run(self) -> None:
        """Call the function, and say what it returned."""
        try:
            answer = self._question()
        except Exception as error:
            answer = Problem(type(error).__name__, error)
        finally:
            connections.close_all()  # this thread's
        with self._lock:
            if not self._is_late:
                self._answer = answer
            self._answered.set()
        if self._is_late and self._late is not None and not isinstance(answer, Problem):
            self._late(answer)
