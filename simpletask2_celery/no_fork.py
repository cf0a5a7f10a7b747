"""Keep a worker's pool from forking while another thread of the parent is at work.

A child that is forked while a thread talks to a database or a broker could inherit a
lock of a library that nobody opens any more. The pool waits two seconds at most.
"""

import os
import threading

WAIT = 2.0  # seconds

_lock = threading.Lock()
_forking = threading.local()


class NoFork:
    """A context in which no other thread of this process forks."""

    def __enter__(self) -> None:
        _lock.acquire()

    def __exit__(self, *args: object) -> None:
        _lock.release()


def _before() -> None:
    _forking.waited = _lock.acquire(timeout=WAIT)


def _after() -> None:
    if _forking.waited:
        _lock.release()


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_in_child)
