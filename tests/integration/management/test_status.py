"""The command that shows what rows, queues and workers do."""

import io
import json
import os
import signal
import threading
from types import SimpleNamespace

import pytest
from celery import current_app
from django.core.management import call_command
from django.db import DatabaseError, connections

from simpletask2_celery.management.commands import simpletask2_status
from simpletask2_celery.watching import figures
from tests.support.fixtures import queue_name, queued
from tests.support.project.jobs.models import DurableJob, Job
from tests.support.rows import DONE, ago, make


def run(name, *arguments):
    out = io.StringIO()
    call_command(f"simpletask2_{name}", *arguments, stdout=out)
    return out.getvalue().strip()


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_the_status_is_a_table_or_json(monkeypatch):
    make("default", 3)
    make("default", 2, status=DONE, success=False, start_time=ago(9), done_time=ago(5))
    lines = run("status").splitlines()
    [line] = [line.split() for line in lines if line.startswith("jobs.job  ")]
    assert line[1:6] == ["3", "0", "0", "2", "2"]
    assert any(line.startswith("Broker: answers") for line in lines)
    assert f"Queues without a worker: {queue_name()}" in lines
    found = json.loads(run("status", "--json"))
    [job] = [m for m in found["models"] if (m["model"], m["using"]) == ("jobs.job", "default")]
    assert (job["total"]["ready"], job["total"]["failed"]) == (3, 2)
    [queue] = [one for one in found["served"] if one["channel"] == "default"]
    assert (queue["name"], queue["workers"], queue["waiting"]) == (queue_name(), 0, 3)
    assert len(queued()) == 5
    Job.objects.all().delete()
    assert "Queues without a worker: none" in run("status").splitlines()
    monkeypatch.setitem(current_app.conf, "worker_enable_remote_control", False)
    assert "Queues without a worker: not known" in run("status").splitlines()


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_the_status_counts_durable_rows_that_are_tried_again_or_wait_for_their_time():
    make("default", 3, DurableJob, attempts=1)
    make("default", 2, DurableJob, run_after=ago(-7 * 86400))
    make("default", 1)
    queued()
    lines = [line.split() for line in run("status").splitlines()]
    [head] = [line for line in lines if line[:1] == ["Task"]]
    assert head[7:9] == ["Retrying", "Scheduled"]
    durable, simple = (
        next(line for line in lines if line[:1] == [name])  # of the database "default"
        for name in ("jobs.durablejob", "jobs.job")
    )
    assert durable[1:8] == ["5", "0", "0", "0", "0", "3", "2"]
    assert simple[1:8] == ["1", "0", "0", "0", "0", "–", "–"]
    found = json.loads(run("status", "--json"))
    [total] = [
        one["total"]
        for one in found["models"]
        if (one["model"], one["using"]) == ("jobs.durablejob", "default")
    ]
    assert (total["retrying"], total["scheduled"]) == (3, 2)


@pytest.mark.django_db(databases=["default", "server"])
def test_ctrl_c_is_heard_while_sqlite_calls_python(monkeypatch):
    def press():
        os.kill(os.getpid(), signal.SIGINT)

    reads = []

    def read():
        reads.append(1)
        assert len(reads) == 1, "the watch goes on"
        connection = connections["default"]
        with pytest.raises(DatabaseError), connection.cursor() as cursor:
            connection.connection.create_function("press", 0, press)
            cursor.execute("SELECT press()")
        return found

    found = figures.read()
    monkeypatch.setattr(figures, "read", read)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as ended:
        call_command("simpletask2_status", "--watch", "0.1", stdout=io.StringIO())
    assert ended.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_the_watch_wherever_it_comes(monkeypatch):
    # What comes at the very end of a loop's turn is not caught by a try around the loop.
    started = []

    def show(*args):
        if not started:
            started.append(threading.Timer(0.002, os.kill, [os.getpid(), signal.SIGINT]))
            started[0].start()

    monkeypatch.setattr(simpletask2_status.Command, "_show", show)
    monkeypatch.setattr(simpletask2_status, "time", SimpleNamespace(sleep=lambda seconds: None))
    for _ in range(100):
        with pytest.raises(SystemExit) as ended:
            call_command("simpletask2_status", watch=1.0)
        started.pop().join()
        assert ended.value.code == 130
