"""A savepoint where a transaction is around: a test's, an eager mode's, ATOMIC_REQUESTS'.

An error of the database or of a fence would spoil that transaction, and the row could
not be written DONE any more. In a worker there is none around, and nothing is done.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DatabaseError, connections


@contextmanager
def around(using: str) -> Iterator[None]:
    """Roll what is inside back where it has spoiled the transaction; raise as it does.

    After other errors what was written stays, as it does without a transaction.
    """
    connection = connections[using]
    if not connection.in_atomic_block:
        yield
        return
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
