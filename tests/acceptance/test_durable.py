"""Durable rows by real workers: retries, times, steps that resume, cancelled runs."""

import datetime
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from celery import current_app
from django.utils import timezone

from simpletask2_celery.publishing import broker
from tests.support import ALIASES
from tests.support.fixtures import is_ready, wait_until
from tests.support.project.jobs.handlers import mark
from tests.support.project.jobs.models import AtomicSteps, DurableJob, DurableSteps, Ledger
from tests.support.rows import READY, done, on_each

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)
NAME = f"durable@{socket.gethostname()}"


def runs(row):
    """Return what the handlers of a row have written, in the order of their runs."""
    lines = Ledger.objects.using(row._state.db).filter(job=row.get_task_info())
    return [*lines.order_by("pk").values_list("process", flat=True)]


@contextmanager
def events():
    """Collect Celery's events of the block."""
    found, over = [], threading.Event()
    connection = current_app.connection_for_read()
    receiver = current_app.events.Receiver(connection, handlers={"*": found.append})

    def listen():
        with connection:
            while not over.is_set():
                try:
                    receiver.capture(limit=None, timeout=0.5, wakeup=False)
                except TimeoutError:
                    pass

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join(10)


def test_a_row_that_fails_twice_and_then_succeeds(worker):
    with events() as heard:
        process = worker("-E", name="durable", TEST_RETRY_DELAY="1")
        wait_until(is_ready(process), what=process.log)
        rows = on_each(DurableJob, what="fails_twice")
        wait_until(done(*rows), what=process.log)
        wait_until(lambda: of_type(heard, "task-succeeded") >= {row.celery_id for row in rows}, 20)
    log = process.log.read_text()
    for row in rows:
        assert (row.success, row.attempts, len(row.errors)) == (True, 3, 2)
        assert [(one["attempt"], one["worker"]) for one in row.errors] == [(1, NAME), (2, NAME)]
        assert row.worker == NAME
        first, second = (datetime.datetime.fromisoformat(one["at"]) for one in row.errors)
        assert second - first >= datetime.timedelta(seconds=1) <= row.start_time - second
        assert len(runs(row)) == 3
    assert len(of_type(heard, "task-retried")) == 4  # a message each
    assert {one["name"] for one in heard if one["type"] == "task-received"} == {"jobs.durablejob"}
    assert log.count("retry: Retry at ") == 4
    assert "Task jobs.durablejob[" in log and "ERROR" not in log


def of_type(heard, kind):
    """Return the ids of the messages of which such an event tells."""
    return {one["uuid"] for one in heard if one["type"] == kind}


def test_a_row_runs_at_its_time_and_the_worker_that_holds_it_names_it(worker):
    process = worker(name="durable")
    wait_until(is_ready(process), what=process.log)
    at = timezone.now() + datetime.timedelta(seconds=4)
    rows = on_each(DurableJob, what="write_ledger", run_after=at)

    def held():
        [answer] = (current_app.control.inspect(timeout=1).scheduled() or {"": []}).values()
        return [one["request"]["name"] for one in answer]

    wait_until(lambda: held() == ["jobs.durablejob"] * 2, 3.5, process.log)
    wait_until(done(*rows), 20, process.log)
    for row in rows:
        assert 0 <= (row.start_time - at).total_seconds() < 2
        assert (row.success, row.attempts, len(runs(row))) == (True, 1, 1)


def test_a_row_parked_for_long_is_published_when_it_is_due(worker, beat):
    process = worker(name="durable")
    beat()
    at = timezone.now() + datetime.timedelta(hours=1)
    rows = on_each(DurableJob, what="write_ledger", run_after=at)
    others = on_each(DurableJob, what="write_ledger")
    wait_until(done(*others), what=process.log)
    time.sleep(2)  # a reset and another
    assert broker.messages_in_queue("default") == 0
    for row in rows:
        row.refresh_from_db()
        assert (row.status, row.attempts, row.auto_reset_time) == (READY, 0, at)
    past = timezone.now() - datetime.timedelta(seconds=1)
    for row in rows:
        parked = DurableJob.objects.using(row._state.db).filter(pk=row.pk)
        parked.update(run_after=past, auto_reset_time=past)
    wait_until(done(*rows), 20, process.log)
    assert [row.attempts for row in rows] == [1, 1]


@pytest.mark.parametrize(
    ("model", "ran"), [(DurableSteps, ["1", "2", "2", "3"]), (AtomicSteps, ["1", "2", "3"])]
)
def test_a_killed_childs_row_goes_on_after_its_last_completed_step(worker, model, ran):
    """What a killed step wrote by itself stays; what it wrote in its transaction does not."""
    rows = on_each(model, what="dies_in_step_two")
    process = worker(name="durable")  # no beat, and a lease of 300 s
    wait_until(done(*rows), 30, process.log)
    for row in rows:
        assert (row.success, row.attempts, row.lost_attempts) == (True, 2, 1)
        assert (row.note, row.completed_step) == ("123", 3)
        assert runs(row) == ran


def test_a_cancelled_handler_ends_at_once_and_nothing_is_an_error(worker):
    process = worker(name="durable", children=2)
    wait_until(is_ready(process), what=process.log)
    rows = on_each(DurableJob, what="sleeps")
    for row in rows:
        wait_until(mark("running", row).exists, what=process.log)
    for row in rows:
        assert row.cancel(terminate=True)
    others = on_each(DurableJob, what="write_ledger")
    wait_until(done(*others), 20, process.log)  # by the children that slept
    for row in rows:
        row.refresh_from_db()
        assert (row.status, row.success, row.attempts) == (row.DONE, False, 1)
        assert [one["message"] for one in row.errors] == ["cancelled"]
    log = process.log.read_text()
    assert "ERROR" not in log and "Traceback" not in log, log
    assert log.count("its run ends") == 2


def test_rows_of_a_chunk_are_retried_one_by_one(worker):
    rows = []
    for alias in ALIASES:
        kinds = ["fails_twice", "write_ledger", "write_ledger"] * 20
        objects = DurableJob.objects.using(alias)
        objects.bulk_create([DurableJob(what=what) for what in kinds])
        DurableJob.publish_many(objects.all(), chunk=50)
        rows += objects.all()
    process = worker(name="durable", TEST_RETRY_DELAY="0.5")
    wait_until(done(*rows), what=process.log)
    for row in rows:
        times = 3 if row.what == "fails_twice" else 1
        assert (row.success, row.attempts, len(runs(row))) == (True, times, times)
    log = process.log.read_text()
    assert "ERROR" not in log
    assert log.count("Task jobs.durablejob[") >= 4


def test_a_time_limit_is_an_error_that_may_be_tried_again(worker, settings, monkeypatch):
    settings.DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = True
    monkeypatch.setattr(DurableJob, "do_task_timeout", 2)
    rows = on_each(DurableJob, what="slow_at_first")
    limits = {"TEST_LEASE": "2", "CHILD_INTERVAL": "60", "TEST_RETRY_DELAY": "0.5"}
    process = worker(name="durable", **limits)
    wait_until(done(*rows), 30, process.log)
    for row in rows:
        assert (row.success, row.attempts, row.lost_attempts) == (True, 2, 0)
        [error] = row.errors
        assert error["exception_class_path"].endswith(".SoftTimeLimitExceeded")
        assert len(runs(row)) == 2
