"""The database sessions of a worker: alive when a run begins, with nothing open after it.

Celery closes sessions between two tasks, or keeps them for many (CELERY_DB_REUSE_MAX). It checks
neither what a handler did to a session, nor whether the server has cut it since.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from django.db import connections
from django.db.backends.signals import connection_created
from django.db.transaction import TransactionManagementError

from . import retrying

IDLE = 10.0  # seconds after which a server may have cut a session: it is asked

_last = threading.local()
#: Who opened the sessions of this process. A wrapper outlives its thread by a while.
_openers: WeakKeyDictionary[Any, threading.Thread] = WeakKeyDictionary()
_opening = threading.Lock()


def look() -> None:
    """Close this thread's sessions that are dead or too old, before they are used.

    A session that was used a moment ago is not tested, because a failing claim is tried again.
    CONN_MAX_AGE = 0 closes sessions after web requests; in a worker CELERY_DB_REUSE_MAX decides.
    """
    now = time.monotonic()
    was_idle = now - getattr(_last, "look", now) > IDLE
    _last.look = now
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred or connection.settings_dict["CONN_MAX_AGE"] != 0:
            connection.close_if_unusable_or_obsolete()
        if was_idle and connection.connection is not None and not _is_open(connection):
            retrying.answers(connection.alias)


def give_back() -> None:
    """Give this thread's pooled sessions back, unless it is in a transaction.

    Hundreds of threads that wait for slow requests share the few connections of a pool of psycopg
    (Django's OPTIONS["pool"]).
    """
    for connection in connections.all(initialized_only=True):
        pooled = connection.settings_dict.get("OPTIONS", {}).get("pool")
        if pooled and not connection.in_atomic_block:
            connection.close()


@contextmanager
def leaving_nothing_open() -> Iterator[None]:
    """Roll back what is left open inside; raise TransactionManagementError if it is.

    An error that is raised inside wins. A transaction that was open before, of a test or of
    ATOMIC_REQUESTS, is somebody else's.
    """
    before = {
        one.alias
        for one in connections.all(initialized_only=True)
        if one.in_atomic_block or (one.connection is not None and not one.autocommit)
    }
    try:
        yield
    finally:
        used = connections.all(initialized_only=True)
        left = [one for one in used if one.alias not in before and _is_open(one)]
        for connection in left:
            _abandon(connection)
    if left:
        names = ", ".join(sorted(one.alias for one in left))
        raise TransactionManagementError(
            f"A transaction was left open on {names}, or autocommit off: it was "
            "rolled back. End each block of transaction.atomic(), and give autocommit back."
        )


def close_those_of_ended_threads() -> None:
    """Close the sessions of ended threads, as of a handler's, which Python would find late."""
    with _opening:
        ended = [one for one, thread in _openers.items() if not thread.is_alive()]
        for connection in ended:
            del _openers[connection]
    for connection in ended:
        connection.inc_thread_sharing()  # its thread will not use it any more
        connection.close()


def keep_track() -> None:
    """Remember from now on which thread opens a session."""
    connection_created.connect(_remember_opener, dispatch_uid="simpletask2_celery.rows.sessions")


def _remember_opener(connection: Any, **kwargs: object) -> None:
    with _opening:
        _openers[connection] = threading.current_thread()


def _is_open(connection: Any) -> bool:
    """Tell whether what is written now would wait for a commit."""
    if connection.connection is None:
        return False
    if connection.in_atomic_block:
        return True
    return bool(connection.settings_dict["AUTOCOMMIT"]) and (
        not connection.autocommit or _is_in_transaction(connection.vendor, connection.connection)
    )


def _is_in_transaction(vendor: str, inner: Any) -> bool:
    """Ask the driver, which knows it without a query; mysqlclient does not tell."""
    if vendor == "postgresql":
        session = getattr(inner, "pgconn", None) or inner.info  # of psycopg, or psycopg2
        return session.transaction_status in (1, 2, 3)  # active, in one, in a failed one
    if vendor == "sqlite":
        return bool(inner.in_transaction)
    status: int = getattr(inner, "server_status", 0)
    return vendor == "mysql" and bool(status & 1)  # SERVER_STATUS_IN_TRANS


def _abandon(connection: Any) -> None:
    """Throw a session away, and with it its transaction: the server rolls that back."""
    connection.in_atomic_block = False  # or Django would keep the dead session
    connection.savepoint_ids, connection.atomic_blocks = [], []
    connection.run_on_commit, connection.needs_rollback = [], False
    connection.closed_in_transaction = False
    retrying.drop(connection.alias)


def _forget_parent() -> None:
    global _opening
    _opening = threading.Lock()
    _openers.clear()


os.register_at_fork(after_in_child=_forget_parent)
