"""PostgreSQL and Valkey of the run, as the tests have them, and a look from outside.

The driver speaks to the database by psycopg alone: it must not count as a system.
"""

import os
import threading

import kombu
import psycopg
import redis

from tests.support import services

_queues = []
_connections = {}


def start():
    """Start what the environment does not name, and make a database of the run's own."""
    services.plan(postgres={"shared_preload_libraries": "'pg_stat_statements'"})
    services.start()
    os.environ["TEST_CHILD"] = "1"  # every process uses the run's own database
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name()}"')


def drop():
    """Drop the database of the run and its queues."""
    with kombu.Connection(os.environ["TEST_BROKER_URL"]) as connection:
        channel = connection.default_channel
        for queue in _queues:
            if connection.transport.driver_type == "redis":
                channel.queue_purge(queue)  # kombu deletes only what it has declared itself
            channel.queue_delete(queue)
    lists = redis.from_url(os.environ["TEST_REDIS_URL"])
    for key in lists.scan_iter(f"{name()}:*"):  # of the original
        lists.unlink(key)
    for connection in _connections.values():
        connection.close()
    with psycopg.connect(os.environ["TEST_DATABASE_URL"], autocommit=True) as server:
        server.execute(f'DROP DATABASE IF EXISTS "{name()}" WITH (FORCE)')


def name():
    return os.environ["TEST_RUN"].replace("-", "_")


def new_queue():
    """Return the name of a queue that nobody has used."""
    _queues.append(f"{os.environ['TEST_RUN']}.{len(_queues) + 1}")
    return _queues[-1]


def database():
    """Return the driver's connection to the database of the run."""
    if "ours" not in _connections:
        connection = connect()
        _connections["ours"] = connection
        try:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            connection.execute("SET pg_stat_statements.track = 'none'")  # not the driver
            connection.execute("SELECT count(*) FROM pg_stat_statements")
            _connections["counts"] = connection
        except psycopg.Error:
            pass
    return _connections["ours"]


def connect():
    """Return a connection of its own to the database of the run."""
    url = os.environ["TEST_DATABASE_URL"]
    return psycopg.connect(url, dbname=name(), autocommit=True)


def ask(query, *parameters):
    """Return the first row of the answer."""
    return database().execute(query, parameters or None).fetchone()


def run(statement):
    """Run a statement that answers nothing."""
    database().execute(statement)


def settle():
    """Write out what earlier measurements have left to write."""
    database().execute("ANALYZE")
    try:
        database().execute("CHECKPOINT")
    except psycopg.Error:  # a server whose user may not
        pass


def forget_queries():
    if "counts" in _connections:
        ask("SELECT pg_stat_statements_reset()::text")


def queries():
    """Return how many statements the database got since; None where it cannot tell."""
    if "counts" not in _connections:
        return None
    return ask(
        "SELECT sum(calls) FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid "
        "WHERE d.datname = current_database()"
    )[0]


class Most:
    """The most that a query about an application answers while it is asked.

    ``period`` is how many seconds pass between two looks, on a connection of its own.
    """

    def __init__(self, query, application, period):
        self.query, self.application, self.period = query, application, period
        self.most = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()

    def look(self):
        with connect() as connection:
            while not self.over.wait(self.period):
                found = connection.execute(self.query, [self.application]).fetchone()[0]
                self.most = max(self.most, found or 0)


def versions():
    """Return what PostgreSQL, with its fsync, and the broker say they are."""
    server = ask("SHOW server_version")[0]
    found = [f"PostgreSQL {server} (fsync {ask('SHOW fsync')[0]})"]
    if os.environ["TEST_BROKER_URL"].startswith("redis"):
        info = redis.from_url(os.environ["TEST_BROKER_URL"]).info()
        kind = "Valkey" if "valkey_version" in info else "Redis"
        found.append(f"{kind} {info.get('valkey_version', info['redis_version'])}")
    return found
