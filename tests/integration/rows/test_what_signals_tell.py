"""What docs/operate/observing.md says of the signals' arguments, and of when there is none."""

import datetime
import io
import time

import pytest
from celery.exceptions import WorkerLostError
from django.contrib.admin.sites import site as admin_site
from django.core import mail
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from simpletask2_celery import signals, tasks
from simpletask2_celery.admin import actions
from simpletask2_celery.publishing import to_celery
from simpletask2_celery.rows import claiming, clock, transitions
from simpletask2_celery.running import executor
from tests.support.fixtures import queued
from tests.support.hearing import SIGNALS
from tests.support.http_api import KEY
from tests.support.project.jobs.models import Job, Steps
from tests.support.rows import at, overdue

# -- the row of a reset ------------------------------------------------------------------


def by_auto_reset(row, request):
    at(row._state.db, row, -1)
    tasks.do_auto_reset()


def by_its_worker(row, request):
    assert transitions.release(Job.objects.using(row._state.db).get(pk=row.pk))


def by_the_admin(row, request):
    rows = Job.objects.using(row._state.db).filter(pk=row.pk)
    admin = admin_site._registry[Job]
    actions.reset_selected_tasks(admin, request, rows)


def by_a_command(row, request):
    words = ["jobs.Job", "--ids", str(row.pk), "--database", row._state.db, "--no-input"]
    call_command("simpletask2_reset", *words, stdout=io.StringIO())


@pytest.mark.parametrize(
    ("reset", "reason"),
    [
        (by_auto_reset, "lease_over"),
        (by_its_worker, "run_lost"),
        (by_the_admin, "operator"),
        (by_a_command, "operator"),
    ],
)
def test_the_row_of_a_reset_says_what_was_lost(
    using, heard, rf, admin_user, monkeypatch, reset, reason
):
    monkeypatch.setattr(admin_site._registry[Job], "message_user", lambda *args: None)
    request = rf.get("/")
    request.user = admin_user
    row = Job.objects.using(using).create()
    claimed = claiming.claim(Job, using, row.pk)
    reset(row, request)
    [told] = heard.of("task_reset")
    before = told["row"]
    assert told["reason"] == reason
    assert (before.status, before.current_step) == (Job.DOING, 1)
    assert before.start_time == claimed.start_time
    row.refresh_from_db()
    assert (row.status, row.start_time, row.current_step) == (Job.READY, None, None)


# -- ends ----------------------------------------------------------------------------------


def test_an_end_that_an_operator_makes_has_no_error_and_no_time_without_a_claim(
    using, heard, rf, admin_user, monkeypatch
):
    admin = admin_site._registry[Job]
    monkeypatch.setattr(admin, "message_user", lambda *args: None)
    request = rf.get("/")
    request.user = admin_user
    ready, doing = (Job.objects.using(using).create() for _ in range(2))
    claiming.claim(Job, using, doing.pk)
    heard.clear()
    actions.stop_selected_tasks(admin, request, Job.objects.using(using).all())
    told = {one["pk"]: one for one in heard.of("task_finished")}
    assert {one["error"] for one in told.values()} == {None}
    assert {one["success"] for one in told.values()} == {False}
    assert told[ready.pk]["seconds"] is None and 0 <= told[doing.pk]["seconds"] < 5


def test_a_row_that_is_given_up_is_told_with_the_reason(using, heard, settings):
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 1
    row = Job.objects.using(using).create()
    overdue(using, row)
    tasks.do_auto_reset()
    [end] = heard.of("task_finished")
    assert isinstance(end["error"], WorkerLostError)
    assert "did not come to an end" in str(end["error"])


@pytest.mark.parametrize("wrong", [600, -600])
def test_the_time_of_a_row_is_the_databases(using, heard, monkeypatch, wrong):
    """Claimed by one machine, ended by another whose clock is wrong."""
    monkeypatch.delattr(mail, "outbox")  # in a test there is one clock for all
    row = Job.objects.using(using).create()
    claiming.claim(Job, using, row.pk)
    clock.forget()
    true_now = timezone.now
    moved = datetime.timedelta(seconds=wrong)
    monkeypatch.setattr(timezone, "now", lambda: true_now() + moved)
    assert Job.objects.using(using).get(pk=row.pk).done()
    assert 0 <= heard.of("task_finished")[0]["seconds"] < 5


@pytest.mark.django_db(transaction=True)
def test_a_request_that_an_old_server_makes_has_no_time(heard, site, client):
    url = f"http://127.0.0.1:{site.server_port}/"
    row = Steps.objects.create(what="proxied", url=url)
    body = {"aclkey": KEY, "task_info": row.get_task_info(), "step": 1}
    answer = client.post("/django-simpletask2/do_task", body, content_type="application/json")
    assert answer.json()["result"]["data"]["proxy"]["url"] == url
    assert site.connections == 0
    [step] = heard.of("step_finished")
    assert step["request_seconds"] is None and step["seconds"] >= 0


# -- when ------------------------------------------------------------------------------------


def test_in_a_testcase_a_signal_comes_with_the_captured_commit(
    db, connect, django_capture_on_commit_callbacks
):
    told = []

    def hear(task_info, signal, **kwargs):
        told.append(signal)

    for signal in (signals.task_published, signals.task_reset):
        connect(signal, hear)
    row = Job.objects.create()
    row.reset()
    assert told == []
    with django_capture_on_commit_callbacks(execute=True):
        row = Job.objects.create()
        assert told == []
    assert told == [signals.task_published]
    with django_capture_on_commit_callbacks(execute=True):
        row.reset()
    assert told == [signals.task_published, signals.task_reset]


def test_a_message_is_at_the_broker_before_the_receivers_of_its_publication(using, connect):
    """So that a worker may have claimed its row by then."""
    seen = []

    def look(pk, **kwargs):
        seen.append(([one["id"] for one in queued()], pk))

    connect(signals.task_published, look)
    row = Job.objects.using(using).create()
    assert seen == [([row.pk], row.pk)]


def test_columns_that_a_save_or_an_update_writes_are_told_of_by_nobody(using, heard):
    rows = [Job.objects.using(using).create() for _ in range(2)]
    heard.clear()
    for status in (Job.DOING, Job.DONE, Job.READY):
        Job.objects.using(using).filter(pk=rows[0].pk).update(status=status)
        rows[1].status = status
        rows[1].save()
    assert heard == []


def test_a_batch_that_fails_in_the_middle_is_told_of_by_nobody(using, heard, settings, monkeypatch):
    settings.DJANGO_SIMPLETASK2_SHORTCUTS = False  # each message is sent by itself
    send_one, sent = to_celery.send_one, []

    def fails_at_the_third(*args):
        if len(sent) % 3 == 2:
            raise ConnectionResetError(104, "reset by peer")
        sent.append(send_one(*args))

    monkeypatch.setattr(to_celery, "send_one", fails_at_the_third)
    with transaction.atomic(using):
        for _ in range(4):
            Job.objects.using(using).create()
    assert len(sent) == 2 and to_celery.breaker.is_open()
    assert heard == []


# -- receivers -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SIGNALS)
def test_a_receiver_that_fails_harms_no_later_receiver_and_no_other_row(using, connect, name):
    told = []

    def fails(**kwargs):
        raise ValueError("of a receiver")

    def hear(pk, **kwargs):
        told.append(pk)

    connect(SIGNALS[name], fails)
    connect(SIGNALS[name], hear)
    rows = [Job.objects.using(using).create() for _ in range(3)]
    for row in rows:
        overdue(using, row)
    assert tasks.do_auto_reset()["jobs.job"] == 3
    assert sorted({one["id"] for one in queued()}) == [row.pk for row in rows]
    for row in rows:
        executor.run(Job, using, row.pk)
        row.refresh_from_db()
        assert row.success
    assert sorted({*told}) == [row.pk for row in rows]


def test_a_slow_receiver_delays_its_sender(using, connect):
    def slow(**kwargs):
        time.sleep(0.3)

    connect(signals.task_published, slow)
    began = time.monotonic()
    Job.objects.using(using).create()
    assert time.monotonic() - began >= 0.3
    connect(signals.task_reset, slow)
    overdue(using, Job.objects.using(using).create())
    began = time.monotonic()
    tasks.do_auto_reset()
    assert time.monotonic() - began >= 0.6  # of the reset, and of the publication
