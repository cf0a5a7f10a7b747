"""Statements that outlive the session they began in: one place for every write of a run.

A session is cut in mid-handler, a failover leads to a read-only server, a lock or a serialization
failure ends a statement. The statement is right, and is tried again, on a new session where the old
one is dead. In a transaction of somebody else's nothing is tried again: its earlier statements
would be missing.
"""

import logging
import random
import time
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from django.db import connections
from django.db.utils import DatabaseError, Error, InterfaceError, OperationalError

T = TypeVar("T")
logger = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds that a claim or a reset is tried for
_FIRST_PAUSE = 0.02  # seconds before the second try; each pause is twice the one before
_LONGEST_PAUSE = 0.5  # seconds


class Fault(Enum):
    """What an error of the database says about the statement that it ended."""

    REAL = "the same statement would fail again"
    TRANSIENT = "nothing was written, the session lives"
    LOST = "the session is dead or of no use, what was sent may have been written"


#: By vendor, the codes of errors after which a statement has written nothing.
#: PostgreSQL ("Appendix A. PostgreSQL Error Codes"): serialization_failure, deadlock_detected,
#: lock_not_available, query_canceled (a statement_timeout). MySQL and MariaDB ("Server Error
#: Message Reference"): lock wait timeout, deadlock, lock by NOWAIT, record changed since last
#: read. SQLite (sqlite.org/rescode.html): SQLITE_BUSY, SQLITE_LOCKED.
_TRANSIENT: dict[str, set[Any]] = {
    "postgresql": {"40001", "40P01", "55P03", "57014"},
    "mysql": {1205, 1213, 3572, 1020},
    "sqlite": {5, 6},
}
#: By vendor, the codes of errors after which the session is dead or of no use.
#: PostgreSQL: connection exceptions (class 08), read_only_sql_transaction (a failover),
#: idle_in_transaction_session_timeout, transaction_timeout, too_many_connections,
#: admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout. MySQL:
#: InterfaceError of a closed session, too many connections, server shutdown, --read-only
#: (1290, 1836), read-only transaction, killed (1927), no connection (2002, 2003), server
#: gone, session lost (2013, 2055), wait_timeout of MySQL 8.
_LOST: dict[str, set[Any]] = {
    "postgresql": {"08", "25006", "25P03", "25P04", "53300", "57P01", "57P02", "57P03", "57P05"},
    "mysql": {0, 1040, 1053, 1290, 1792, 1836, 1927, 2002, 2003, 2006, 2013, 2055, 4031},
    "sqlite": set(),
}
#: By vendor, the codes of a broken UNIQUE or PRIMARY KEY: unique_violation; duplicate entry, with
#: the key's name and without; SQLITE_CONSTRAINT_UNIQUE, _PRIMARYKEY and _ROWID.
_DUPLICATE: dict[str, set[Any]] = {
    "postgresql": {"23505"},
    "mysql": {1062, 1586},
    "sqlite": {2067, 1555, 2579},
}


def persist(
    using: str,
    attempt: Callable[[], T],
    landed: Callable[[], T] | None = None,
    patience: float = PATIENCE,
) -> T:
    """Return what ``attempt`` returns; call it again while the database is at fault.

    ``attempt`` runs one statement, or several of which a second call undoes none. An attempt whose
    answer was lost may have written: ``landed`` returns something true then. Raises what the last
    attempt has raised, after ``patience`` seconds.
    """
    if connections[using].in_atomic_block:
        return attempt()
    end = time.monotonic() + patience
    pause, is_lost = _FIRST_PAUSE, False
    while True:
        try:
            if is_lost and landed is not None and (result := landed()):
                return result
            result = attempt()
            if not result and is_lost and landed is not None:  # it was under way, just now
                result = landed() or result
            return result
        except Error as error:
            fault = fault_of(using, error)
            if fault is Fault.REAL or time.monotonic() + pause > end:
                raise
            logger.info("Database %s: %s; tried again.", using, _in_short(error))
            if fault is Fault.LOST:
                is_lost = True
                drop(using)
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE)


def fault_of(using: str, error: BaseException) -> Fault:
    """Tell what an error, of Django's or of the driver's, says about its statement."""
    if not isinstance(error, (DatabaseError, InterfaceError)):
        return Fault.REAL
    vendor = connections[using].vendor
    code = _code(vendor, error.__cause__ or error)
    is_of_driver = isinstance(error, (InterfaceError, OperationalError))
    if code in _TRANSIENT.get(vendor, ()):
        return Fault.TRANSIENT
    if vendor not in _LOST:
        is_lost = is_of_driver and not answers(using)
    elif vendor == "postgresql" and code is None:  # no connection, or no place in a pool
        is_lost = is_of_driver
    else:
        is_lost = code in _LOST[vendor]
    return Fault.LOST if is_lost else Fault.REAL


def is_of_a_lock(error: BaseException) -> bool:
    """Tell whether a statement has waited for somebody's lock for as long as it may."""
    cause = error.__cause__ or error
    return bool(_code("postgresql", cause) == "55P03" or _code("mysql", cause) == 1205)


def is_of_a_duplicate(using: str, error: BaseException) -> bool:
    """Tell whether a statement has failed because a unique key has a row already."""
    vendor, cause = connections[using].vendor, error.__cause__ or error
    if vendor == "sqlite":  # whose primary code is that of any constraint
        return getattr(cause, "sqlite_errorcode", None) in _DUPLICATE[vendor]
    return _code(vendor, cause) in _DUPLICATE.get(vendor, ())


def drop(using: str) -> None:
    """Close this thread's session, which may be dead; the next statement makes one."""
    try:
        connections[using].close()
    except Error as error:  # closing has failed: there is nothing left to close
        logger.debug("Database %s: closing failed (%s).", using, _in_short(error))
        connections[using].connection = None


def answers(using: str) -> bool:
    """Tell whether this thread's session answers; one that does not is dropped.

    By a statement: ``is_usable()`` of PyMySQL connects anew, and without a word.
    """
    connection = connections[using]
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT 1{connection.features.bare_select_suffix}")
            cursor.fetchone()
    except Error:
        drop(using)
        return False
    return True


def _code(vendor: str, cause: Any) -> Any:
    """Return the code of a driver's error that the tables above have; None without one."""
    if vendor == "postgresql":  # the SQLSTATE: psycopg's name for it, or psycopg2's
        state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
        return "08" if state and state.startswith("08") else state
    if vendor == "sqlite":  # the primary code of an extended one
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF
    return cause.args[0] if vendor == "mysql" and cause.args else None


def _in_short(error: BaseException) -> str:
    """Return the error's class: its text may hold values of the row."""
    return type(error.__cause__ or error).__name__
