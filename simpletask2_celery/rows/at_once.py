"""Ask many at once, and wait for none of them longer than it may take."""

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
    """What came instead of an answer: an exception, whose name is the text, or none."""

    text: str
    error: Exception = field(default_factory=lambda: TimeoutError(SILENT))


#: Who did not answer in time and still has not: nobody waits for them again.
_hung: dict[str, threading.Thread] = {}


def answer(name: str, look: Callable[[], T], seconds: float) -> T:
    """Call a function in a thread of its own; return what it returned.

    Raises what it has raised, and TimeoutError where it took more than ``seconds``: a
    resolver or a Sentinel may be silent without end. It must not use the database.
    """
    found: T | Problem = ask({name: look}, seconds)[name]
    if isinstance(found, Problem):
        raise found.error
    return found


def ask(looks: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    """Call each function in a thread of its own; return what it returned, by name.

    Of one that raised, or took more than ``seconds``, a Problem. Threads that hang are
    left behind, one for each name at most.
    """
    answers: dict[str, Any] = dict.fromkeys(looks, Problem(SILENT))
    threads = {}
    for name, look in looks.items():
        if name not in _hung or not _hung[name].is_alive():
            arguments = answers, name, look
            threads[name] = threading.Thread(target=_ask, args=arguments, daemon=True)
            threads[name].start()
    end = time.monotonic() + seconds
    for name, thread in threads.items():
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            _hung[name] = thread
    return dict(answers)  # what comes later changes nothing


def _ask(answers: dict[str, Any], name: str, look: Callable[[], Any]) -> None:
    try:
        answers[name] = look()
    except Exception as error:
        answers[name] = Problem(type(error).__name__, error)
    finally:
        connections.close_all()  # this thread's
