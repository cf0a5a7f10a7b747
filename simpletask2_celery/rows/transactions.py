"""Transactions that somebody else has begun around a write of ours."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import DatabaseError, Error, connections, transaction

_of_steps: set[Any] = set()  # the outermost blocks of the atomic steps under way


def savepoint(using: str) -> AbstractContextManager[None]:
    """Roll the block back if it broke the surrounding transaction; re-raise its error.

    A broken transaction, of a test, of eager mode or of ATOMIC_REQUESTS, would keep the row from
    being written DONE. After other errors what was written stays. In a worker there is no
    transaction around, and nothing is done; nor on PostgreSQL in one :func:`of_step`, which an
    error ends there. Elsewhere a savepoint that is gone shows that the server has ended the
    transaction, as MySQL does for a deadlock, and that what came after it began another one.
    """
    connection: Any = connections[using]
    is_ended = connection.vendor == "postgresql" and is_of_step(using)
    needs_one = connection.in_atomic_block and not is_ended
    return _savepoint(connection) if needs_one else nullcontext()


def is_of_step(using: str) -> bool:
    """Tell whether the innermost transaction is that of an atomic step."""
    blocks = connections[using].atomic_blocks
    return bool(blocks) and blocks[-1] in _of_steps


@contextmanager
def of_step(using: str) -> Iterator[None]:
    """Begin the transaction of an atomic step: whatever fails inside rolls all of it back."""
    with transaction.atomic(using):
        block = connections[using].atomic_blocks[-1]
        _of_steps.add(block)
        try:
            yield
        finally:
            _of_steps.discard(block)


@contextmanager
def _savepoint(connection: Any) -> Iterator[None]:
    savepoint: Any = connection.savepoint()  # None where a database has none
    try:
        yield
        connection.savepoint_commit(savepoint)
    except BaseException:
        try:
            connection.savepoint_commit(savepoint)
        except DatabaseError:
            _roll_back(connection, savepoint)
        raise


def _roll_back(connection: Any, savepoint: Any) -> None:
    """Roll back to a savepoint, if there is one still: a deadlock on MySQL ends them all."""
    try:
        connection.set_rollback(False)
        connection.savepoint_rollback(savepoint)
    except Error:
        connection.set_rollback(True)


def after_commit(using: str, call: Callable[[], Any]) -> bool:
    """Call a function after the commit: now, where no transaction is open.

    Returns False, and calls nothing, where autocommit was switched off by hand: Django runs
    no hooks then ("Performing actions after commit" of its documentation).
    """
    connection = connections[using]
    if not (connection.in_atomic_block or connection.get_autocommit()):
        return False
    transaction.on_commit(call, using=using)
    return True
