"""Fixtures: the database of a test, the broker's queues, processes of its own."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from celery import current_app
from kombu.exceptions import ChannelError

ROOT = Path(__file__).parent.parent
ALIASES = ["default", "server"]
CHANNELS = [None, "mail", "a", "routed"]


@pytest.fixture(autouse=True)
def fresh():
    """No failure, no remembered timeout and no message of an earlier test."""
    from simpletask2_celery import clock, runtime_timeouts

    runtime_timeouts.forget()
    clock.forget()
    close_breakers()
    yield
    close_breakers()
    for channel in CHANNELS:
        queued(channel)
    for key in redis().scan_iter(f"*{current_app.conf.task_default_queue}:*"):
        redis().delete(key)


def close_breakers():
    from simpletask2_celery import publisher

    publisher.celery_breaker._until = publisher.lists_breaker._until = 0.0


def redis():
    """Return a client to the Redis of the old lists."""
    from django_redis import get_redis_connection

    return get_redis_connection("default")


def pytest_collection_modifyitems(items):
    for item in items:
        if "using" in item.fixturenames:
            both = pytest.mark.django_db(transaction=True, databases=ALIASES)
            item.add_marker(both)


@pytest.fixture
def handler(monkeypatch):
    """Give the module of handlers one more, named "told"."""
    from tests.project.jobs import handlers

    def tell(function):
        monkeypatch.setattr(handlers, "told", function, raising=False)
        return "told"

    return tell


@pytest.fixture(params=ALIASES)
def using(request):
    """Run the test on SQLite and on a database server."""
    return request.param


def pytest_sessionfinish():
    """Leave no queue behind on a broker that others use, too."""
    with current_app.connection_for_write() as connection:
        for channel in CHANNELS:
            connection.default_channel.queue_delete(queue_name(channel))


def queue_name(channel):
    run = current_app.conf.task_default_queue
    return f"{run}.{channel}" if channel else run


def queued(channel=None):
    """Take and return the kwargs of the messages in a channel's queue."""
    return [kwargs for kwargs, _ in messages(channel)]


def messages(channel=None):
    """Take and return (kwargs, message) of all in a channel's queue."""
    taken = []
    with current_app.connection_for_write() as connection:
        name = queue_name(channel)
        try:
            while message := connection.default_channel.basic_get(name, no_ack=True):
                body = message if hasattr(message, "payload") else None
                body = body or connection.default_channel.message_to_python(message)
                taken.append((body.payload[1], body))
        except (ChannelError, *connection.channel_errors) as error:
            if "NOT_FOUND" not in str(error):
                raise
    return taken


def message_of(row):
    """Return the kwargs of a row's message."""
    from simpletask2_celery import publisher

    kind, key, _ = publisher.message_of(row)
    return kind.kwargs(key)


def rebuild_router():
    """Let the app route as its settings are now."""
    current_app.amqp.flush_routes()
    current_app.amqp.router = current_app.amqp.Router()


def environ(**more):
    return {**os.environ, "TEST_CHILD": "1", **more}


def folder():
    return Path(os.environ["TEST_FOLDER"])


class Child:
    """A process of the tests, which speaks in lines of JSON."""

    def __init__(self, *arguments, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.child", *map(str, arguments)],
            cwd=ROOT,
            env=environ(**environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self):
        line = self.process.stdout.readline()
        assert line, f"the child ended with {self.process.wait()}"
        return json.loads(line)

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


@pytest.fixture
def child():
    """Start processes that end with the test."""
    started = []

    def start(*arguments, **environment):
        started.append(Child(*arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


@pytest.fixture
def silent():
    """A server that accepts and says nothing; its port."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=200)) as server:
        accepted = []

        def accept():
            try:
                while True:
                    accepted.append(server.accept())
            except OSError:
                pass

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection, _ in accepted:
            connection.close()


@pytest.fixture
def celery():
    """Start real ``celery worker`` and ``celery beat`` processes; stop them at the end."""
    with ExitStack() as stack:

        def start(*arguments, **environment):
            log = stack.enter_context((folder() / f"{arguments[0]}.log").open("w"))
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tests.project", *arguments],
                cwd=ROOT,
                env=environ(**environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(stop, process)
            process.log = Path(log.name)
            return process

        yield start


def stop(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()


def wait_until(condition, seconds=60, what="it"):
    """Wait for something that must come; fail when it has not."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} has not come in {seconds} s"
        time.sleep(0.05)
    return found
