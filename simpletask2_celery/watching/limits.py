"""Reads that the database stops when they take too long, whatever it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.utils.translation import gettext_noop

_OPCODES = 10_000  # of SQLite, between two looks at the clock: a millisecond or less


TOO_LONG = gettext_noop("took too long")  # what is not read then is said so


class TookTooLong(Exception):
    """A read was stopped, or there was no time left for it."""


def needs_this_thread(using: str) -> bool:
    """Tell whether another thread cannot read a database as this one does.

    It is a file, or this thread is in a transaction of it. Others are better read in a
    thread that can be left behind: no limit helps where a server is silent.
    """
    connection = connections[using]
    return connection.vendor == "sqlite" or connection.in_atomic_block


@contextmanager
def limited(using: str, seconds: float) -> Iterator[None]:
    """Let no statement inside take more than ``seconds``; they are only to read.

    Raises TookTooLong for one that does, and at once where no time is left. The
    connection is left as it was, also inside a transaction.
    """
    if seconds <= 0:
        raise TookTooLong
    connection = connections[using]
    limit = _LIMITS.get(connection.vendor)
    if limit is None:
        yield
        return
    connection.ensure_connection()
    began = time.monotonic()
    try:
        with limit(connection, seconds):
            yield
    except DatabaseError as error:
        if time.monotonic() - began < seconds:
            raise
        raise TookTooLong from error


@contextmanager
def _postgresql(connection: Any, seconds: float) -> Iterator[None]:
    with transaction.atomic(connection.alias):
        with connection.cursor() as cursor:
            limit = str(max(1, int(seconds * 1000)))
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [limit])
        yield
        # Which takes the limit back, also where the transaction is somebody else's.
        transaction.set_rollback(True, connection.alias)


def _mysql(connection: Any, seconds: float) -> AbstractContextManager[Any]:
    def execute(run: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if connection.mysql_is_mariadb:
            sql = f"SET STATEMENT max_statement_time={seconds:.3f} FOR {sql}"
        else:
            hint = f"SELECT /*+ MAX_EXECUTION_TIME({max(1, int(seconds * 1000))}) */"
            sql = sql.replace("SELECT", hint, 1)
        return run(sql, *rest)

    wrapper: AbstractContextManager[Any] = connection.execute_wrapper(execute)
    return wrapper


@contextmanager
def _sqlite(connection: Any, seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    inner = connection.connection
    inner.set_progress_handler(lambda: time.monotonic() > end, _OPCODES)
    try:
        yield
    finally:
        inner.set_progress_handler(None, 0)


_LIMITS: dict[str, Callable[[Any, float], AbstractContextManager[Any]]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "sqlite": _sqlite,
}
