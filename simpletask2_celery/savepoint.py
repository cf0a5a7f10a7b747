"""A savepoint where a transaction is around: a test's, an eager mode's, ATOMIC_REQUESTS'.

An error of the database or of a fence would spoil that transaction, and the row could
not be written DONE any more. In a worker there is none around, and nothing is done.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from django.db import DatabaseError, connections, transaction


def around(using: str) -> AbstractContextManager[None]:
    """Roll what is inside back where it has spoiled the transaction; raise as it does.

    After other errors what was written stays, as it does without a transaction.
    """
    connection = connections[using]
    return _around(connection) if connection.in_atomic_block else nullcontext()


def after_commit(using: str, call: Callable[[], Any]) -> bool:
    """Call a function after the commit: now, where no transaction is open.

    False, and nothing is called, where autocommit was switched off by hand: Django calls
    nobody back then ("Performing actions after commit" of its documentation).
    """
    connection = connections[using]
    if not (connection.in_atomic_block or connection.get_autocommit()):
        return False
    transaction.on_commit(call, using=using)
    return True


@contextmanager
def _around(connection: Any) -> Iterator[None]:
    savepoint: Any = connection.savepoint()  # None where a database has none
    try:
        yield
        connection.savepoint_commit(savepoint)
    except BaseException:
        try:
            connection.savepoint_commit(savepoint)
        except DatabaseError:
            connection.set_rollback(False)
            connection.savepoint_rollback(savepoint)
        raise
