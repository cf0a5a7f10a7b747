"""Workers whose threads are greenlets (``-P gevent``, ``-P eventlet``), all in one OS thread.

asyncio and Django ask for the event loop that runs in the OS thread, so each greenlet sees the
loop of any other.
"""

import os
from typing import Any

from celery.signals import task_postrun
from django.db import connections
from kombu.utils.compat import detect_environment


def kind() -> str:
    """Return "gevent" or "eventlet", or "" where the threads of this process are real ones."""
    name: str = detect_environment()
    return "" if name == "default" else name


def begin() -> None:
    """Let the rows of this Celery worker, if it runs them in greenlets, not meet each other.

    A handler may run a loop by itself (``async_to_sync`` of a library): without the variable,
    which is Django's, every other row would be refused the database meanwhile. Sessions are a
    greenlet's own and a task's greenlet ends with it, so a session that CELERY_DB_REUSE_MAX
    keeps would be used by nobody.
    """
    if kind():
        os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        task_postrun.connect(_close_sessions)


def _close_sessions(sender: Any, **kwargs: object) -> None:
    if not sender.request.is_eager:  # one of a handler, whose sessions are in use
        connections.close_all()  # of this greenlet
