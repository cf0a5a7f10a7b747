"""Fixtures: the database of a test, the broker's queues, processes of its own."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from celery import current_app
from kombu import Exchange, Queue

from tests.support import ALIASES, ROOT, networks, services

CHANNELS = [None, "mail", "a", "routed"]


@pytest.fixture(autouse=True)
def fresh(request):
    """No failure, no remembered timeout and no message of an earlier test."""
    from simpletask2_celery.rows import clock, timeouts

    timeouts.forget()
    clock.forget()
    close_breakers()
    yield
    close_breakers()
    if services.are_started():
        if "pages" not in request.node.path.parts:  # where workers outlive a test
            wait_for_the_consumers()
        empty_the_broker()


def wait_for_the_consumers():
    """Wait until nobody waits for a message: it would be the next test's."""
    with broker() as connection:
        if connection.transport.driver_type != "redis":
            return
        client = connection.default_channel.client
        number = client.connection_pool.connection_kwargs["db"]

        def waiting():
            return [
                one
                for one in client.client_list()
                if int(one["db"]) == number and "b" in one["flags"]
            ]

        wait_until(lambda: not waiting(), 20, f"the end of the consumers {waiting()}")


def empty_the_broker():
    """Leave no message, no key of the old lists and no hint of the project's cache."""
    from simpletask2_celery.recovery import hints

    for channel in CHANNELS:
        queued(channel)
    for pattern in (f"*{current_app.conf.task_default_queue}:*", f"*{hints.key('*')}"):
        if keys := list(redis().scan_iter(pattern)):
            redis().delete(*keys)


def close_breakers():
    from simpletask2_celery.publishing import to_celery, to_lists

    to_celery.forget()
    to_lists.breaker.close()


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
    from tests.support.project.jobs import handlers

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
    if services.are_started():
        for channel in CHANNELS:
            with broker() as connection:
                connection.default_channel.queue_delete(queue_name(channel))


def queue_name(channel=None):
    run = current_app.conf.task_default_queue
    return f"{run}.{channel}" if channel else run


def queued(channel=None):
    """Take and return the kwargs of the messages in a channel's queue."""
    return [kwargs for kwargs, _ in messages(channel)]


def messages(channel=None):
    """Take and return (kwargs, message) of all in a channel's queue."""
    taken = []
    with broker() as connection:
        while message := connection.default_channel.basic_get(queue_name(channel), no_ack=True):
            body = message if hasattr(message, "payload") else None
            body = body or connection.default_channel.message_to_python(message)
            taken.append((body.payload[1], body))
    return taken


@contextmanager
def broker():
    """Connect to a broker that has the tests' queues.

    To Redis by a connection that stays open. To RabbitMQ by a new one: until that is
    there, the broker has what was published by others.
    """
    if not _brokers:
        _brokers.append(current_app.connection_for_write())
        for channel in CHANNELS:  # RabbitMQ refuses to look into a queue that is not there
            name = queue_name(channel)
            Queue(name, Exchange(name), name).bind(_brokers[0].default_channel).declare()
    if _brokers[0].transport.driver_type == "redis":
        yield _brokers[0]
    else:
        with current_app.connection_for_write() as connection:
            yield connection


_brokers = []


def message_of(row):
    """Return the kwargs of a row's message."""
    from simpletask2_celery.publishing import messages as row_messages

    kind, key, _ = row_messages.of_row(row, row.get_channel_name())
    return kind.kwargs(key)


def rebuild_router():
    """Let the app route as its settings are now."""
    current_app.amqp.flush_routes()
    current_app.amqp.router = current_app.amqp.Router()


def start_anew():
    """Let the app send as its settings are now: Celery's senders keep what they were."""
    from simpletask2_celery.publishing.messages import DO_TASK

    rebuild_router()
    for name in ("send_task_message", "create_task_message"):
        vars(current_app.amqp).pop(name, None)
    current_app.tasks[DO_TASK]._exec_options = None


@pytest.fixture
def configure():
    """Set a value of the app's configuration for one test."""
    before = {}

    def set_to(name, value):
        before.setdefault(name, getattr(current_app.conf, name))
        setattr(current_app.conf, name, value)
        start_anew()

    yield set_to
    for name, value in before.items():
        setattr(current_app.conf, name, value)
    start_anew()


def environ(**more):
    return {**os.environ, "TEST_CHILD": "1", **more}


def folder():
    return Path(os.environ["TEST_FOLDER"])


class Child:
    """A process of the tests, which speaks in lines of JSON."""

    def __init__(self, *arguments, **environment):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.child", *map(str, arguments)],
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

    def write(self, what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()


@contextmanager
def children():
    """Start processes that end with the block."""
    started = []

    def start(*arguments, **environment):
        started.append(Child(*arguments, **environment))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def child():
    """Start processes that end with the test."""
    with children() as start:
        yield start


@pytest.fixture
def silent():
    """A server that accepts and says nothing; its port."""
    with networks.silent() as port:
        yield port


@pytest.fixture
def celery():
    """Start real ``celery worker`` and ``celery beat`` processes; kill them at the end."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def start(*arguments, **environment):
            path = folder() / f"{arguments[0]}-{next(numbers)}.log"
            log = stack.enter_context(path.open("w"))
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tests.support.project", *arguments],
                cwd=ROOT,
                env=environ(**environment),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(kill, process)
            process.log = Path(log.name)
            return process

        yield start


@pytest.fixture
def worker(celery):
    """Start a real worker of some channels' queues; nobody is there to mingle with."""

    def start(*options, name="celery", channels=(None,), children=2, **environment):
        queues = ",".join(map(queue_name, channels))
        named = ("-n", f"{name}@%h", "-c", str(children), "-Q", queues, "-l", "INFO")
        quick = ("--without-mingle", "--without-gossip")  # which take a second
        return celery("worker", *named, *quick, *options, **environment)

    return start


@pytest.fixture
def beat(celery):
    """Start a real beat, whose resets are due each second."""

    def start(**environment):
        schedule = ("-s", str(folder() / "schedule"), "--max-interval", "1")
        return celery("beat", *schedule, "-l", "INFO", **environment)

    return start


def is_ready(process):
    """Return a function that tells whether a worker takes messages by now."""
    return lambda: " ready." in process.log.read_text()


def kill(process):
    """End a process and its children at once: a warm shutdown takes seconds."""
    end_group(process.pid, process.wait)


def end_group(number, wait=lambda: None):
    """Kill a process group, and wait until no member of it lives.

    One that lives has its parent's connection to the broker, which would take the next
    test's message.
    """
    with suppress(ProcessLookupError):
        os.killpg(number, signal.SIGKILL)
    wait()
    wait_until(lambda: not any(_living_of(number)), what="the children's end")


def _living_of(group):
    """Yield the states of a process group's members that have not ended; see proc(5)."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, its_group, *_ = path.read_text().rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                yield state


def stop(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        kill(process)


def wait_until(condition, seconds=60, what="it"):
    """Wait for something that must come; fail when it has not."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} has not come in {seconds} s"
        time.sleep(0.05)
    return found
