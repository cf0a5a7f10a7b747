"""Keep a worker's pool from forking while another thread of the parent is at work.

A child that is forked while a thread talks to a database or a broker could inherit a
lock of a library that nobody opens any more, or a socket that two processes would read.
The pool waits two seconds at most, and the thread leaves no connection open.
"""

import os
import threading
from typing import Any

from django.db import connections

WAIT = 2.0  # seconds

_changed = threading.Condition()
_inside = 0  # threads that are at work
_forks = False  # the worker's pool


class NoFork:
    """A context in which no other thread of this process forks; threads may share it.

    At its end the database connections of this thread are closed.
    """

    def __enter__(self) -> None:
        global _inside
        with _changed:
            _inside += 1

    def __exit__(self, *args: object) -> None:
        global _inside
        try:
            for connection in connections.all(initialized_only=True):
                connection.close()
                # A pool (of psycopg) is the process's. Where the worker's pool is threads,
                # they use it; where it is processes, these must not inherit its sockets.
                if _forks and getattr(connection, "pool", None):
                    connection.close_pool()  # type: ignore[attr-defined]
        finally:
            with _changed:
                _inside -= 1
                _changed.notify_all()


def remember_pool(sender: Any, **kwargs: object) -> None:
    """Remember whether the pool of a worker that is ready is one of processes."""
    global _forks
    _forks = "prefork" in type(sender.pool).__module__


def _before() -> None:
    _changed.acquire()
    _changed.wait_for(lambda: not _inside, timeout=WAIT)


def _in_child() -> None:
    global _changed, _inside, _forks
    _changed, _inside, _forks = threading.Condition(), 0, False


# By its name, because a child has a lock of its own when it forks in turn.
os.register_at_fork(
    before=_before, after_in_parent=lambda: _changed.release(), after_in_child=_in_child
)
