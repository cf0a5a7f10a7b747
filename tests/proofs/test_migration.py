"""Old servers, unmodified, on ours; and a team that moves over, as real processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml
from celery import current_app
from django.conf import settings
from django.test import override_settings

from tests.proofs.migration.shop.models import Entry, Order, Parcel
from tests.support import originals
from tests.support.fixtures import (
    ROOT,
    environ,
    folder,
    is_ready,
    kill,
    redis,
    stop,
    wait_until,
)
from tests.support.project.jobs.models import ChannelJob, Job, Ledger, Steps, UuidJob
from tests.support.services import free_port

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "server"])
API = "/django-simpletask2/"
RUN = current_app.conf.task_default_queue


@pytest.fixture
def run():
    """Start processes with a log each, and kill them at the end of the test."""
    with ExitStack() as stack:

        def start(name, *command, env, **options):
            log = stack.enter_context((folder() / f"{name}.log").open("w"))
            process = subprocess.Popen(
                list(map(str, command)),
                cwd=ROOT,
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **options,
            )
            if process.stdin:
                stack.callback(process.stdin.close)
            stack.callback(kill, process)
            process.log = Path(log.name)
            return process

        yield start


@pytest.fixture
def web(run):
    """Start a web process; return it with its port.

    It is a test's own: in it a call of a server that was killed may wait for a row still.
    """

    def start(python, name, env):
        port = free_port()
        command = [python, "-m", "django", "runserver", "--noreload", f"127.0.0.1:{port}"]
        process = run(name, *command, env=env)
        wait_until(lambda: not closed(port), 30, process.log)
        return process, port

    return start


def closed(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port))


@pytest.fixture
def old_server(run, tmp_path):
    """Start a published django-simpletask2-server with a file of its own."""

    def start(version, **values):
        path = tmp_path / "config.yml"
        path.write_text(
            yaml.safe_dump(
                {
                    "redis": os.environ["TEST_REDIS_URL"] + "?decode_responses=True",
                    "aclkey": "the key of the tests",
                    "threads": 2,
                    "idle-sleep": 0,
                    "error-sleep": 1,
                    "task-pull-timeout": 1,
                    "auto-reset-task-interval": 1,
                    "pidfile": str(tmp_path / "old.pid"),
                    "logfile": str(tmp_path / "old.log"),
                    **values,
                }
            )
        )
        program = originals.server(version)
        command = [program, "--config", path, "--no-daemon", "start"]
        return run("old-server", *command, env=originals.environ())

    return start


# -- old servers on ours -----------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("version", ["0.1.1", "0.0.6"])
@pytest.mark.parametrize("engine", ["redis", "api"])
@override_settings(DJANGO_SIMPLETASK2_PUBLISH_TO="redis")
def test_an_old_server_drives_our_rows(version, engine, web, old_server):
    env = environ(CHILD_PUBLISH_TO="redis")
    _, port = web(sys.executable, "web", env)
    site = f"http://127.0.0.1:{port}"
    rows = [
        Job.objects.create(what="write_ledger"),
        Job.objects.create(what="fail"),
        Steps.objects.create(what="proxied_dict", url=site + API + "do_task"),
        Steps.objects.create(what="proxied_dict", url="http://127.0.0.1:1/"),
        ChannelJob.objects.create(topic="mail"),
        UuidJob.objects.create(),
    ]
    if engine == "api":  # which finds rows that nobody published, too
        redis().delete(*redis().keys(f"{RUN}:*"))
    Job.objects.bulk_create([Job(what="write_ledger")])  # which its resets find
    process = old_server(
        version,
        **{
            "server": site + API,
            "task-pull-engine": engine,
            "channels": "default,mail",
            "channel-name-template": settings.DJANGO_SIMPLETASK2_CHANNEL_NAME_TEMPLATE,
            "channel-flags-template": settings.DJANGO_SIMPLETASK2_CHANNEL_FLAGS_TEMPLATE,
            "channel-name-strip-regex": ".*:channels:(?P<channel>.*)$",
        },
    )
    models = (Job, Steps, ChannelJob, UuidJob)
    wait_until(
        lambda: not any(m.objects.exclude(status=30).exists() for m in models),
        what=process.log,
    )
    for row in rows:
        row.refresh_from_db()
    assert [row.success for row in rows] == [True, False, True, True, True, True]
    assert Ledger.objects.count() == 2
    assert '"code": 2910001' in rows[2].note and rows[2].note.endswith("4:;")
    assert "proxy request failed" in rows[3].note
    flags = settings.DJANGO_SIMPLETASK2_CHANNEL_FLAGS_TEMPLATE.format(channel="mail")
    assert not redis().exists(flags)


# -- the migration -----------------------------------------------------------------------


class Front:
    """What stands before the web processes: new connections go where it is told."""

    def __init__(self, port):
        self.to = port
        self.open = Counter()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def switch(self, port):
        """Send new requests to another process, and wait for the end of the others."""
        old, self.to = self.to, port
        wait_until(lambda: not self.open[old], 20, "the end of the old requests")

    def close(self):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self):
        try:
            while True:
                client, _ = self._server.accept()
                self.open[self.to] += 1
                args = (client, self.to)
                threading.Thread(target=self._serve, args=args, daemon=True).start()
        except OSError:
            pass

    def _serve(self, client, to):
        with client, socket.create_connection(("127.0.0.1", to)) as behind:
            back = threading.Thread(target=self._copy, args=(behind, client), daemon=True)
            back.start()
            self._copy(client, behind)
            back.join()
        self.open[to] -= 1

    def _copy(self, source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def waiting(queue):
    """Return how many messages a queue holds; Redis has no queue that is empty."""
    with current_app.connection_for_write() as connection:
        channel = connection.default_channel
        try:
            return channel.queue_declare(queue, passive=True).message_count
        except connection.channel_errors:
            return 0


@BOTH
def test_a_team_moves_over_and_no_row_is_lost_or_run_twice(run, web, old_server):
    module = {"DJANGO_SETTINGS_MODULE": "tests.proofs.migration.settings"}
    old = originals.environ(TEST_CHILD="1", MIGRATION_SIDE="original", **module)
    ours = environ(MIGRATION_SIDE="ours", CHILD_LEGACY_CHANNELS="default", **module)
    rows = [m.objects.using("server") for m in (Order, Parcel)]

    def made():
        return sum(objects.count() for objects in rows)

    def done():
        return sum(objects.filter(status=30).count() for objects in rows)

    def until(count):
        wait_until(lambda: made() >= count, 60, "the rows")
        wait_until(lambda: done() >= count - 40, 60, "their runs")  # it keeps up

    def produce(python, name, env):
        command = [python, "-m", "tests.proofs.migration.produce", f"{site}/page", 0.02]
        return run(name, *command, env=env, stdin=subprocess.PIPE)

    def end(producer):
        producer.stdin.close()
        assert producer.wait(20) == 0

    # 1. As it was: the original's web processes and their server.
    original, port = web(originals.web_python(), "original", old)
    front = Front(port)
    site = f"http://127.0.0.1:{front.port}"
    first = produce(originals.web_python(), "first", old)
    server = old_server(
        "0.1.1",
        **{
            "server": site + API,
            "channel-name-template": f"{RUN}:migration:channels:{{channel}}",
            "channel-flags-template": f"{RUN}:migration:flags:{{channel}}",
            "channel-name-strip-regex": ".*:channels:(?P<channel>.*)$",
        },
    )
    until(100)
    # 2. Ours, publishing to both; a web process of the original goes on beside it.
    _, port = web(sys.executable, "both", {**ours, "CHILD_PUBLISH_TO": "both"})
    front.switch(port)
    stop(original)
    second = produce(sys.executable, "second", {**ours, "CHILD_PUBLISH_TO": "both"})
    until(200)
    # 3. Celery's workers, beside the old server.
    queue = f"{RUN}.migration"
    celery = [sys.executable, "-m", "celery", "-A", "tests.proofs.migration", "worker"]
    options = ["-c", "2", "-Q", queue, "-l", "INFO", "--without-mingle", "--without-gossip"]
    worker = run("workers", *celery, *options, env=ours)
    wait_until(is_ready(worker), 30, worker.log)
    end(first)
    until(350)
    # 4. Celery alone; the old server ends when it has nothing to do any more.
    end(second)
    third = produce(sys.executable, "third", ours)
    lists = f"{RUN}:migration:*"
    wait_until(lambda: not list(redis().scan_iter(lists)), 30, "the end of the lists")
    time.sleep(1)
    stop(server)
    wait_until(lambda: made() >= 500, 60, "the rows")
    end(third)
    wait_until(lambda: done() == made(), 60, worker.log)

    assert made() >= 500
    assert not any(objects.exclude(success=True).exists() for objects in rows)
    assert not rows[1].exclude(page="a page").exists()
    ledger = Entry.objects.using("server")
    ran = Counter(ledger.values_list("job", "step"))
    assert set(ran.values()) == {1}
    wanted = {(row.get_task_info(), 1) for row in rows[0]}
    wanted |= {(row.get_task_info(), step) for row in rows[1] for step in (1, 2, 3)}
    assert set(ran) == wanted
    by = Counter(ledger.values_list("by", flat=True))
    assert min(by["original"], by["ours"]) >= 100
    assert not list(redis().scan_iter(f"*{lists}"))
    wait_until(lambda: not waiting(queue), what="an empty queue")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(20) == 0
    front.close()
    with current_app.connection_for_write() as connection:
        connection.default_channel.queue_delete(queue)
