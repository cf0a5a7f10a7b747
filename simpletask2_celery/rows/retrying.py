"""Statements that outlive the session they began in: one place for every write of a run.

A session is cut in mid-handler, a failover leads to a read-only server, a lock or a
serialization failure ends a statement: the statement is right, and is tried again, on a
new session where the old one is dead. A write whose answer was lost may have happened:
``landed`` asks the row, whose claim token and times are this run's alone.

In a transaction of somebody else's nothing is tried again: its earlier statements would
be missing.
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


#: SQLSTATE of PostgreSQL ("Appendix A. PostgreSQL Error Codes"): serialization_failure,
#: deadlock_detected, lock_not_available, query_canceled (a statement_timeout).
_TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "57014"})
#: connection exceptions are all of class 08; read_only_sql_transaction (a failover),
#: idle_in_transaction_session_timeout, transaction_timeout, too_many_connections,
#: admin_shutdown, crash_shutdown, cannot_connect_now, idle_session_timeout.
_LOST_STATES = frozenset({"25006", "25P03", "25P04", "53300", "57P01", "57P02", "57P03", "57P05"})
#: Error numbers of MySQL and MariaDB ("Server Error Message Reference"): lock wait timeout,
#: deadlock, lock by NOWAIT, record changed since last read.
_TRANSIENT_NUMBERS = frozenset({1205, 1213, 3572, 1020})
#: InterfaceError of a closed session, too many connections, server shutdown, --read-only
#: (1290, 1836), read-only transaction, killed (1927), no connection (2002, 2003), server
#: gone, session lost (2013, 2055), wait_timeout of MySQL 8.
_LOST_NUMBERS = frozenset(
    {0, 1040, 1053, 1290, 1792, 1836, 1927, 2002, 2003, 2006, 2013, 2055, 4031}
)
_SQLITE_TRANSIENT = frozenset({5, 6})  # SQLITE_BUSY, SQLITE_LOCKED; sqlite.org/rescode.html


def persist(
    using: str,
    attempt: Callable[[], T],
    landed: Callable[[], T] | None = None,
    patience: float = PATIENCE,
) -> T:
    """Return what ``attempt`` returns; call it again while the database is at fault.

    ``attempt`` runs one statement, or several of which a second call undoes none, on the
    database ``using``. ``landed`` (default: nobody asks) returns something true where an
    attempt whose answer was lost has written after all. ``patience`` in seconds.
    Raises what the last attempt has raised.
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
    cause = error.__cause__ or error
    vendor = connections[using].vendor
    if vendor == "postgresql":
        return _fault_of_state(error, _state(cause))
    if vendor == "mysql":
        number = cause.args[0] if cause.args else None
        return _fault_of(number, _TRANSIENT_NUMBERS, _LOST_NUMBERS)
    if vendor == "sqlite":
        return _fault_of(_sqlite_code(cause), _SQLITE_TRANSIENT, frozenset())
    is_dead = isinstance(error, (InterfaceError, OperationalError)) and not answers(using)
    return Fault.LOST if is_dead else Fault.REAL


def is_of_a_lock(error: BaseException) -> bool:
    """Tell whether a statement has waited for somebody's lock for as long as it may."""
    cause = error.__cause__ or error
    return _state(cause) == "55P03" or (bool(cause.args) and cause.args[0] == 1205)


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


def _state(cause: BaseException) -> str | None:
    """Return the SQLSTATE: psycopg's name for it, or psycopg2's."""
    state: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return state


def _fault_of_state(error: BaseException, state: str | None) -> Fault:
    if state is None:  # the driver's own: no connection, a closed one, no place in a pool
        is_driver = isinstance(error, (InterfaceError, OperationalError))
        return Fault.LOST if is_driver else Fault.REAL
    if state.startswith("08"):
        return Fault.LOST
    return _fault_of(state, _TRANSIENT_STATES, _LOST_STATES)


def _fault_of(code: Any, transient: frozenset[Any], lost: frozenset[Any]) -> Fault:
    if code in transient:
        return Fault.TRANSIENT
    return Fault.LOST if code in lost else Fault.REAL


def _sqlite_code(cause: BaseException) -> int | None:
    code = getattr(cause, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF  # the primary of an extended code


def _in_short(error: BaseException) -> str:
    """Return the error's class: its text may hold values of the row."""
    return type(error.__cause__ or error).__name__
