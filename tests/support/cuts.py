"""Faults of one session of a real server: cut, silent about what it has done, read-only."""

from contextlib import contextmanager

from django.db import connections

KILL = {
    "postgresql": "SELECT pg_terminate_backend({})",
    "mysql": "KILL {}",
}
ASK = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}
READ_ONLY = {
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}
IMPATIENT = {
    "postgresql": "SET lock_timeout = '100ms'",
    "mysql": "SET innodb_lock_wait_timeout = 1",
}


def execute(alias, sql):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def cut(alias):
    """Have the server end this thread's session, as an idle limit or a failover does."""
    connection = connections[alias]
    [number] = execute(alias, ASK[connection.vendor])
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute(KILL[connection.vendor].format(number))
    finally:
        other.close()


def make_read_only(alias):
    """Refuse every write of this session, as a server does that is no primary any more."""
    execute(alias, READ_ONLY[connections[alias].vendor])


def make_impatient(alias):
    """Let this session's statements not wait long for a lock."""
    execute(alias, IMPATIENT[connections[alias].vendor])


@contextmanager
def losing_the_answer(alias, begins="UPDATE", times=1):
    """Cut the session after a statement has been done, and before its answer arrives."""
    left = [times]

    def run(execute_it, sql, params, many, context):
        result = execute_it(sql, params, many, context)
        if left[0] and sql.startswith(begins):
            left[0] -= 1
            with connections[alias].connection.cursor() as cursor:
                [number] = _asked(cursor, ASK[connections[alias].vendor])
                other = connections[alias].copy()
                with other.cursor() as killer:
                    killer.execute(KILL[other.vendor].format(number))
                other.close()
            return execute_it("SELECT 1", None, False, context)  # as the driver says it
        return result

    with connections[alias].execute_wrapper(run):
        yield left


def _asked(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchone()


def cut_quietly(alias):
    """Cut as :func:`cut`, of a session that Django takes to be in no transaction any more."""
    connection = connections[alias]
    with connection.connection.cursor() as cursor:
        [number] = _asked(cursor, ASK[connection.vendor])
    other = connection.copy()
    try:
        with other.cursor() as killer:
            killer.execute(KILL[other.vendor].format(number))
    finally:
        other.close()
