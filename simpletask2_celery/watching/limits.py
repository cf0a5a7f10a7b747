"""Reads that the database stops when they take too long, whatever it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.db import DatabaseError, connections, transaction
from django.utils.translation import gettext_noop

_OPCODES = 10_000  # of SQLite, between two looks at the clock: a millisecond or less

TOO_LONG = gettext_noop("took too long")  # in words for a user


class TookTooLong(Exception):
    """A read was stopped, or there was no time left for it."""


@contextmanager
def limited(using: str, seconds: float) -> Iterator[None]:
    """Stop each statement of the block that takes more than ``seconds``; it may only read.

    Raises TookTooLong for such a statement, and at once if no time is left. The connection
    is left as it was, also inside a transaction. Oracle's statements are not stopped.
    """
    if seconds <= 0:
        raise TookTooLong
    connection = connections[using]
    limit = _LIMITS.get(connection.vendor)
    connection.ensure_connection()
    began = time.monotonic()
    try:
        with limit(connection, seconds) if limit else nullcontext():
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
        # The rollback takes the limit back, also inside somebody else's transaction.
        transaction.set_rollback(True, connection.alias)


@contextmanager
def _mysql(connection: Any, seconds: float) -> Iterator[None]:
    def execute(run: Callable[..., Any], sql: str, *rest: Any) -> Any:
        if connection.mysql_is_mariadb:
            sql = f"SET STATEMENT max_statement_time={seconds:.3f} FOR {sql}"
        else:
            hint = f"SELECT /*+ MAX_EXECUTION_TIME({max(1, int(seconds * 1000))}) */"
            sql = sql.replace("SELECT", hint, 1)
        return run(sql, *rest)

    with connection.execute_wrapper(execute):
        yield


@contextmanager
def _sqlite(connection: Any, seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    inner = connection.connection
    inner.set_progress_handler(lambda: time.monotonic() > end, _OPCODES)
    try:
        yield
    finally:
        inner.set_progress_handler(None, 0)


_LIMITS = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}
