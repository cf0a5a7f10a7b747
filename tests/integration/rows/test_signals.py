"""Signals: what happens to rows is told once, when it is true, and harms nobody."""

import datetime
import json
import logging
import sys

import pytest
from celery import current_app
from celery.exceptions import SoftTimeLimitExceeded, WorkerLostError
from django.contrib.admin.sites import site as admin_site
from django.db import connections, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from simpletask2_celery import signals, tasks
from simpletask2_celery.admin import actions
from simpletask2_celery.exceptions import ClaimLost, DjangoSimpleTask2Error
from simpletask2_celery.legacy import mover
from simpletask2_celery.publishing import to_celery, to_lists
from simpletask2_celery.recovery import board as claims
from simpletask2_celery.recovery import keeper
from simpletask2_celery.rows import announcing, claiming, resetting, states
from simpletask2_celery.running import executor
from tests.support.fixtures import message_of, queued, redis
from tests.support.hearing import SIGNALS
from tests.support.project.jobs.models import (
    AsyncJob,
    ChannelJob,
    ChildJob,
    CodeJob,
    Job,
    PairJob,
    Steps,
    UuidJob,
)


def run(row, **kwargs):
    return executor.run(type(row), row._state.db, row.pk, **kwargs)


def overdue(row, **fields):
    """Let the lease of a row, or its wait, be over."""
    before = timezone.now() - datetime.timedelta(seconds=1)
    rows = type(row).objects.using(row._state.db).filter(pk=row.pk)
    rows.update(auto_reset_time=before, **fields)


# -- the journey of a row ----------------------------------------------------------------


def test_a_row_is_told_from_its_message_to_its_end(using, heard):
    row = ChannelJob.objects.using(using).create(topic="mail")
    run(row)
    assert heard.names() == [
        "task_published",
        "task_started",
        "step_finished",
        "task_finished",
    ]
    for name, kwargs in heard:
        assert kwargs["sender"] is ChannelJob
        assert (kwargs["pk"], kwargs["using"]) == (row.pk, using)
        assert (kwargs["channel"], kwargs["task_info"]) == ("mail", row.get_task_info())
        assert name == "task_published" or kwargs["row"].pk == row.pk
    [step] = heard.of("step_finished")
    assert (step["step"], step["success"], step["error"]) == (1, True, None)
    assert 0 < step["seconds"] < 5 and step["request_seconds"] is None
    [end] = heard.of("task_finished")
    assert (end["success"], end["error"]) == (True, None) and 0 <= end["seconds"] < 5


def test_what_is_told_is_in_the_database(using, connect):
    seen = []

    def look(row, signal, **kwargs):
        found = type(row).objects.using(using).get(pk=row.pk)
        seen.append((found.status, found.current_step, found.note, found.success))

    for name in ("task_started", "step_finished", "task_finished"):
        connect(SIGNALS[name], look)

    row = Steps.objects.using(using).create(what="proxied")
    run(row)
    notes = [f"{step}|None;" for step in range(1, 5)]
    assert seen == [
        (20, 1, "", None),
        (20, 2, notes[0], None),
        (20, 3, "".join(notes[:2]), None),
        (20, 4, "".join(notes[:3]), None),
        (30, 4, "".join(notes), True),
        (30, 4, "".join(notes), True),
    ]


def test_the_time_of_a_request_is_told_apart_from_its_steps(using, heard, slow_site):
    row = Steps.objects.using(using).create(what="proxied", url=slow_site)
    run(row)
    told = [(s["step"], s["request_seconds"]) for s in heard.of("step_finished")]
    assert [step for step, _ in told] == [1, 2, 3, 4]
    assert 1 <= told[0][1] < 5 and {seconds for _, seconds in told[1:]} == {None}
    assert heard.of("step_finished")[0]["seconds"] < 1
    assert {one["request_error"] for one in heard.of("step_finished")} == {None}
    assert heard.of("task_finished")[0]["seconds"] >= 1


def test_a_failing_handler_is_told_with_its_error(using, heard):
    row = Job.objects.using(using).create(what="fail")
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    [step], [end] = heard.of("step_finished"), heard.of("task_finished")
    assert step["success"] is end["success"] is False
    assert step["error"] is end["error"]
    assert repr(end["error"]) == "ValueError('as told')"
    assert end["row"].success is False


@pytest.mark.parametrize("change", ["reset", "delete", "done"])
def test_a_run_that_lost_its_claim_is_told_no_end_of(using, heard, handler, change):
    def told(row, payload):
        other = Job.objects.using(using).get(pk=row.pk)
        other.done(force=True) if change == "done" else getattr(other, change)()
        heard.clear()

    row = Job.objects.using(using).create(what=handler(told))
    with pytest.raises(ClaimLost):
        run(row)
    assert heard.names() == []


def test_async_handlers_and_forced_runs_are_told_of(using, heard):
    row = AsyncJob.objects.using(using).create()
    run(row)
    heard.clear()
    run(row, force=True)
    assert heard.names() == ["task_started", "step_finished", "task_finished"]


def test_a_run_in_a_worker_that_claims_nothing_is_told_of_by_nobody(using, heard):
    row = Job.objects.using(using).create()
    run(row)
    heard.clear()
    assert tasks.do_task(**message_of(row))["error"]["code"] == 2910015
    assert heard.names() == []


def test_eager_mode_tells_in_order(using, heard):
    current_app.conf.task_always_eager = True
    try:
        Job.objects.using(using).create()
    finally:
        current_app.conf.task_always_eager = False
    assert heard.names() == [
        "task_published",
        "task_started",
        "step_finished",
        "task_finished",
    ]


@pytest.mark.django_db(transaction=True)
def test_steps_over_http_are_told_of(heard):
    row = Steps.objects.create()
    heard.clear()
    for step in (1, 2, 2, 3, 4):  # one of them twice
        body = {
            "aclkey": "the key of the tests",
            "task_info": row.get_task_info(),
            "step": step,
        }
        url = reverse("django_simpletask2.do_task")
        Client().post(url, json.dumps(body), content_type="application/json")
    assert heard.names() == ["task_started", *["step_finished"] * 4, "task_finished"]
    assert [one["step"] for one in heard.of("step_finished")] == [1, 2, 3, 4]


def test_a_forced_late_step_is_told_of_once(using, heard):
    row = Steps.objects.using(using).create()
    heard.clear()
    row.do_task({"step": 3}, force=True)
    assert [one["step"] for one in heard.of("step_finished")] == [3]
    assert heard.names() == ["task_started", "step_finished"]


# -- published ---------------------------------------------------------------------------


def test_a_row_is_told_as_published_after_the_commit(using, heard):
    with transaction.atomic(using):
        rows = [Job.objects.using(using).create() for _ in range(3)]
        assert heard == []
    told = [one["pk"] for one in heard.of("task_published")]
    assert told == [row.pk for row in rows]
    assert len(queued()) == 3
    with pytest.raises(ZeroDivisionError), transaction.atomic(using):
        Job.objects.using(using).create()
        raise ZeroDivisionError
    assert len(heard) == 3


@pytest.mark.parametrize("chunk", [1, 3])
def test_each_row_of_a_message_is_told_as_published(using, heard, chunk):
    Job.objects.using(using).bulk_create([Job() for _ in range(7)])
    rows = Job.objects.using(using).order_by("pk")
    Job.publish_many(rows, chunk=chunk)
    assert [one["pk"] for one in heard.of("task_published")] == [row.pk for row in rows]
    assert {one["using"] for one in heard.of("task_published")} == {using}


def test_keys_of_every_kind_are_told_as_they_are(using, heard):
    rows = [
        UuidJob.objects.using(using).create(),
        CodeJob.objects.using(using).create(code="a:b"),
        PairJob.objects.using(using).create(tenant=1, number=2),
        ChildJob.objects.using(using).create(),
    ]
    told = heard.of("task_published")
    assert [one["pk"] for one in told] == [row.pk for row in rows]
    assert [one["task_info"] for one in told] == [row.get_task_info() for row in rows]
    assert [one["sender"] for one in told] == [UuidJob, CodeJob, PairJob, ChildJob]


def test_what_no_broker_took_is_not_told_as_published(using, heard):
    to_celery.breaker.open()
    Job.objects.using(using).create()
    assert heard == []


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_what_a_real_broker_refused_is_not_told_as_published(child):
    both = "default,server"
    told = child("told", both, CHILD_BROKER_URL="redis://127.0.0.1:1/0").read()
    assert len(told["rows"]) == 2 and told["told"] == []
    told = child("told", both).read()
    assert told["told"] == told["rows"]


@pytest.mark.parametrize("fails", [None, "celery", "lists", "both"])
@pytest.mark.django_db(transaction=True)
def test_a_row_that_goes_to_both_is_told_once(settings, heard, fails):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "both"
    for name, breaker in {"celery": to_celery.breaker, "lists": to_lists.breaker}.items():
        if fails in (name, "both"):
            breaker.open()
    Job.objects.create()
    assert len(heard) == (fails != "both")


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_what_is_pushed_to_the_old_lists_is_told(settings, heard):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"
    row = Job.objects.create()
    Job.objects.using("server").create()  # which an entry cannot name
    assert [one["pk"] for one in heard.of("task_published")] == [row.pk]


@pytest.mark.django_db(transaction=True)
def test_what_is_moved_from_the_old_lists_is_told(heard):
    Job.objects.bulk_create([Job()])
    row = Job.objects.get()
    redis().rpush(to_lists.list_of("default"), row.get_task_info())
    assert mover.move("default") == 1
    assert [one["task_info"] for one in heard.of("task_published")] == [row.get_task_info()]


# -- reset, given up, and by hand --------------------------------------------------------


def test_a_reset_tells_why(using, heard):
    late, lost, fine = (Job.objects.using(using).create() for _ in range(3))
    queued()
    claiming.claim(Job, using, late.pk)
    overdue(late)
    overdue(lost)
    heard.clear()
    assert tasks.do_auto_reset()["jobs.job"] == 2
    told = {one["pk"]: one for one in heard.of("task_reset")}
    assert {pk: one["reason"] for pk, one in told.items()} == {
        late.pk: "lease_over",
        lost.pk: "message_lost",
    }
    assert told[late.pk]["row"].status == Job.DOING  # as it was
    assert len(heard.of("task_published")) == 2
    heard.clear()
    fine.reset()
    assert heard.of("task_reset")[0]["reason"] == "operator"
    assert heard.of("task_reset")[0]["row"] is fine and fine.status == Job.READY


def test_a_released_run_is_told_once(using, heard, tmp_path):
    row = Job.objects.using(using).create()
    claimed = claiming.claim(Job, using, row.pk)
    board = claims.Board(tmp_path / "board")
    claims.post_on(board)
    try:
        with claims.noted(claimed, "task"):
            [(_, note)] = board.notes()
    finally:
        claims.post_on(None)
        board.close()
    heard.clear()
    keeper.release({**note, "timed_out": False})
    keeper.release({**note, "timed_out": False})
    assert heard.names() == ["task_reset", "task_published"]
    assert heard.of("task_reset")[0]["reason"] == "run_lost"


class FirstIsDoneAfterTheLoad(Job.objects._queryset_class):
    """A query whose first row is done as soon as it is loaded."""

    def __iter__(self):
        rows = list(super().__iter__())
        if rows:
            Job.objects.using(self.db).get(pk=rows[0].pk).done()
        return iter(rows)


def test_a_row_that_finished_meanwhile_is_not_told_as_reset(using, heard):
    rows = [Job.objects.using(using).create() for _ in range(3)]
    for row in rows:
        overdue(row, status=Job.DOING, start_time=timezone.now())
    heard.clear()
    query = FirstIsDoneAfterTheLoad(Job, using=using)
    pages = resetting.reset_pages(query, states.due(timezone.now()))
    assert [changed for changed, _ in pages] == [2]
    assert [one["pk"] for one in heard.of("task_finished")] == [rows[0].pk]
    assert [one["pk"] for one in heard.of("task_reset")] == [row.pk for row in rows[1:]]


def test_a_row_that_is_given_up_is_told_as_failed(using, heard, settings):
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 1
    row = Job.objects.using(using).create()
    claiming.claim(Job, using, row.pk)
    overdue(row)
    heard.clear()
    tasks.do_auto_reset()
    assert heard.names() == ["task_finished"]
    [end] = heard.of("task_finished")
    assert end["success"] is False and isinstance(end["error"], WorkerLostError)
    assert end["row"].status == Job.DONE and end["seconds"] >= 0


def test_start_and_done_by_hand_are_told_where_they_are_saved(using, heard):
    row = Job.objects.using(using).create()
    heard.clear()
    row.start(save=False), row.done(save=False), row.reset(save=False)
    assert heard == []
    row = Job.objects.using(using).get()
    row.success = True
    assert row.start() and row.done() and not row.done()
    assert heard.names() == ["task_started", "task_finished"]
    [end] = heard.of("task_finished")
    assert end["success"] is True and end["error"] is None and end["seconds"] >= 0


def test_a_handler_that_marks_its_own_row_changes_nothing_and_tells_nothing(using, heard, handler):
    def told(row, payload):
        heard.clear()
        row.done(), row.reset(), row.start()
        assert heard == []

    row = Job.objects.using(using).create(what=handler(told))
    run(row)
    assert heard.names() == ["step_finished", "task_finished"]


def test_admin_actions_are_told_of(using, heard, rf, monkeypatch, admin_user):
    rows = [Job.objects.using(using).create() for _ in range(2)]
    admin = admin_site._registry[Job]
    monkeypatch.setattr(admin, "message_user", lambda *args: None)
    request = rf.get("/")
    request.user = admin_user
    heard.clear()
    every = Job.objects.using(using).all()
    actions.reset_selected_tasks(admin, request, every)
    assert heard.names() == ["task_reset"] * 2 + ["task_published"] * 2
    assert {one["reason"] for one in heard.of("task_reset")} == {"operator"}
    heard.clear()
    actions.mark_selected_tasks_done(admin, request, every)
    assert heard.names() == ["task_finished"] * 2
    assert [one["row"].pk for one in heard.of("task_finished")] == [r.pk for r in rows]
    assert {one["success"] for one in heard.of("task_finished")} == {None}
    actions.reset_selected_tasks(admin, request, every)
    heard.clear()
    actions.stop_selected_tasks(admin, request, every)
    actions.stop_selected_tasks(admin, request, every)  # there is nothing left to stop
    assert heard.names() == ["task_finished"] * 2
    assert {one["success"] for one in heard.of("task_finished")} == {False}


def test_inside_a_transaction_the_commit_tells(using, heard):
    row = Job.objects.using(using).create()
    heard.clear()
    with transaction.atomic(using):
        row.reset()
        assert heard == []
    assert heard.take() == ["task_reset"]
    with pytest.raises(ZeroDivisionError), transaction.atomic(using):
        row.done(force=True)
        raise ZeroDivisionError
    assert heard == []


# -- receivers ---------------------------------------------------------------------------


def test_a_receiver_hears_of_the_model_it_asked_for(using, connect):
    told = []

    def hear(sender, **kwargs):
        told.append(sender)

    connect(signals.task_finished, hear, sender=Steps)
    for model in (Job, Steps, ChildJob):
        run(model.objects.using(using).create())
    assert told == [Steps]


@pytest.mark.parametrize("name", SIGNALS)
def test_a_receiver_that_fails_is_logged_and_harms_nobody(using, heard, connect, caplog, name):
    def fails(**kwargs):
        raise ValueError("of a receiver")

    connect(SIGNALS[name], fails)
    row = Job.objects.using(using).create()
    run(row)
    row.refresh_from_db()
    assert row.success is True and len(queued()) == 1
    overdue(row, status=Job.DOING, start_time=timezone.now())
    assert tasks.do_auto_reset()["jobs.job"] == 1
    assert [one["pk"] for one in heard.of(name)][:1] == [row.pk]
    failures = [r for r in caplog.records if "of a receiver" in r.getMessage()]
    assert len(failures) == len(heard.of(name)) and failures
    for record in failures:
        assert record.levelno == logging.ERROR and record.exc_info
        assert record.task_info == row.get_task_info()
        assert row.get_task_info() in record.getMessage() and "fails" in record.getMessage()


def test_the_database_survives_a_receiver_whose_query_fails(using, connect):
    def fails(**kwargs):
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT of nothing")

    for signal in SIGNALS.values():
        connect(signal, fails)
    row = Job.objects.using(using).create(what="write_ledger")
    run(row)
    with transaction.atomic(using):
        row.reset()
    row.refresh_from_db()
    assert row.status == Job.READY


def test_the_time_limit_of_a_run_that_strikes_in_a_receiver_ends_the_run(using, connect):
    def slow(**kwargs):
        raise SoftTimeLimitExceeded

    connect(signals.task_started, slow)
    row = Job.objects.using(using).create(what="write_ledger")
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        run(row)
    assert caught.value.code == 2910009
    row.refresh_from_db()
    assert (row.status, row.success) == (Job.DONE, False)


def test_the_time_limit_that_strikes_after_the_end_does_not_undo_it(using, connect):
    def slow(**kwargs):
        raise SoftTimeLimitExceeded

    connect(signals.task_finished, slow)
    row = Job.objects.using(using).create()
    assert run(row)["task_info"] == row.get_task_info()
    row.refresh_from_db()
    assert row.success is True


def test_async_receivers_are_awaited(using, connect):
    told = []

    async def hear(task_info, **kwargs):
        told.append(task_info)

    connect(signals.task_finished, hear)
    row = Job.objects.using(using).create()
    run(row)
    assert told == [row.get_task_info()]


def test_a_channel_that_cannot_be_told_fails_no_run(using, heard, caplog, monkeypatch):
    row = Job.objects.using(using).create()
    heard.clear()

    def unknown(self):
        raise LookupError("no channel")

    monkeypatch.setattr(Job, "get_channel_name", unknown)
    monkeypatch.setattr(Job, "get_do_task_timeout", lambda self: 300)
    run(row)
    assert heard == [] and "A signal was not sent" in caplog.text


# -- the cost of it ----------------------------------------------------------------------


def calls_of_signals(act):
    """Return the functions of the module that ran, how often each."""
    counts = {}

    def count(frame, event, arg):
        code = frame.f_code
        if event == "call" and code.co_filename == announcing.__file__:
            counts[code.co_name] = counts.get(code.co_name, 0) + 1

    sys.setprofile(count)
    try:
        act()
    finally:
        sys.setprofile(None)
    return counts


def test_what_nobody_listens_for_is_not_built(using):
    row = Job.objects.using(using).create()
    Job.objects.using(using).bulk_create([Job() for _ in range(999)])
    rows = list(Job.objects.using(using).all())
    counts = calls_of_signals(lambda: Job.publish_many(rows))
    assert counts == {"published": 1}
    assert not {"_send", "_announce"} & set(calls_of_signals(lambda: run(row)))


def test_a_receiver_of_another_model_costs_nothing(using, connect):
    def hear(**kwargs):
        raise AssertionError

    for signal in SIGNALS.values():
        connect(signal, hear, sender=Steps)
    row = Job.objects.using(using).create()
    counts = calls_of_signals(lambda: (row.publish(), run(row), row.reset()))
    assert not {"_send", "_announce"} & set(counts)


# -- the log -----------------------------------------------------------------------------


def lines_of(caplog, name="simpletask2_celery.signals"):
    return [record for record in caplog.records if record.name == name]


def test_at_debug_each_event_is_a_line_with_its_facts(using, caplog):
    caplog.set_level(logging.DEBUG, "simpletask2_celery.signals")
    row = Job.objects.using(using).create()
    run(row)
    row.reset()
    name = row.get_task_info()
    lines = lines_of(caplog)
    assert [line.getMessage() for line in lines] == [
        f"{name}: published",
        f"{name}: started",
        f"{name}: step finished",
        f"{name}: done",
        f"{name}: reset (operator)",
    ]
    assert {line.task_info for line in lines} == {name}
    assert {line.levelno for line in lines} == {logging.DEBUG}
    assert [getattr(line, "step", None) for line in lines] == [None, 1, 1, 1, None]
    assert lines[2].duration > 0 and lines[3].duration >= 0
    caplog.clear()
    with pytest.raises(DjangoSimpleTask2Error):
        run(Job.objects.using(using).create(what="fail"))
    *_, step, end = lines_of(caplog)
    assert step.getMessage().endswith(": step failed") and step.step == 1
    assert end.getMessage().endswith(": failed") and end.code == 2910009


def test_without_debug_there_is_no_line(using, caplog):
    caplog.set_level(logging.INFO)
    run(Job.objects.using(using).create())
    assert lines_of(caplog) == []


def test_records_about_rows_carry_name_and_code(using, caplog, settings):
    caplog.set_level(logging.INFO)
    row = Job.objects.using(using).create()
    run(row)
    tasks.do_task(**message_of(row))
    [record] = lines_of(caplog, "simpletask2_celery.tasks")
    assert (record.task_info, record.code) == (row.get_task_info(), 2910015)
    row.refresh_from_db()
    row.publish()
    [record] = lines_of(caplog, "simpletask2_celery.publishing.publisher")
    assert record.task_info == row.get_task_info()
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 1
    row.reset()
    claiming.claim(Job, using, row.pk)
    overdue(row)
    tasks.do_auto_reset()
    [record] = lines_of(caplog, "simpletask2_celery.recovery.lost_runs")
    assert (record.task_info, record.code) == (row.get_task_info(), 2910009)
    assert record.step == 1


@pytest.mark.django_db(transaction=True)
def test_records_of_the_http_api_carry_what_was_sent(caplog):
    caplog.set_level(logging.INFO)
    body = {"aclkey": "the key of the tests", "task_info": "jobs.job:1\n2", "step": 1}
    url = reverse("django_simpletask2.do_task")
    for sent in (body, {**body, "aclkey": "another"}):
        Client().post(url, json.dumps(sent), content_type="application/json")
    first, second = lines_of(caplog, "simpletask2_celery.legacy.views")
    assert (first.code, first.step) == (2910005, 1) and "\n" not in first.task_info
    assert second.code == 2910003
    assert "another" not in str(vars(second)) and "the key" not in str(vars(first))
