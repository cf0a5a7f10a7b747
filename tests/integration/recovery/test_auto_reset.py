"""Auto-reset: who is reset, where, and beat's entry for it."""

import datetime
import threading

import pytest
from celery import current_app
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.utils import timezone

from simpletask2_celery import tasks
from simpletask2_celery.publishing import broker, to_celery
from simpletask2_celery.recovery import auto_reset, hints, lost_runs
from simpletask2_celery.rows import querysets, redis_connection, resetting, states
from tests.support.clock import clock
from tests.support.fixtures import close_breakers, queued
from tests.support.flood import assert_resets_do_not_flood, in_queue
from tests.support.project.jobs.models import ChildJob, Job, PairJob, Steps
from tests.support.rows import at, overdue


def test_stale_rows_are_reset_and_published_and_no_others(using):
    objects = Job.objects.using(using)
    rows = {name: objects.create(note=name) for name in "abcdef"}
    at(using, rows["a"], -1)  # READY, its message was lost
    at(using, rows["b"], -1, status=20, start_time=timezone.now(), current_step=1)
    at(using, rows["c"], 60, status=20)  # its lease runs
    at(using, rows["d"], -1, status=30, success=True)  # DONE is DONE
    objects.filter(note="e").update(auto_reset_time=None)  # as bulk_create makes them
    queued()
    assert tasks.do_auto_reset()["jobs.job"] == 3
    assert {m["id"] for m in queued()} == {rows[n].pk for n in "abe"}
    after = {row.note: row for row in objects.all()}
    for name in "abe":
        row = after[name]
        assert (row.status, row.start_time, row.current_step) == (10, None, None)
        assert row.auto_reset_time > timezone.now()
    assert (after["c"].status, after["d"].status) == (20, 30)
    assert tasks.do_auto_reset()["jobs.job"] == 0
    assert queued() == []


def test_the_result_names_every_model_once(using):
    answer = tasks.do_auto_reset()
    assert set(answer) == {
        f"jobs.{name}"
        for name in (
            "job steps asyncjob channeljob uuidjob codejob pairjob dayjob childjob everyjob "
            "durablejob durablesteps atomicsteps"
        ).split()
    } | {"shop.order", "shop.parcel", "simpletask2_tasks.functiontask"}


def test_a_row_of_a_child_model_is_published_as_the_child(using):
    row = ChildJob.objects.using(using).create()
    at(using, row, -1)
    queued()
    answer = tasks.do_auto_reset()
    assert (answer["jobs.job"], answer["jobs.childjob"]) == (0, 1)
    assert [m["model"] for m in queued()] == ["childjob"]


def test_a_row_that_finishes_while_it_is_looked_at_is_left_alone(using):
    row = Job.objects.using(using).create()
    at(using, row, -1, status=20, start_time=timezone.now())
    pages = resetting.reset_pages(
        FinishedAfterTheLoad(Job, using=using), states.due(timezone.now())
    )
    assert [changed for changed, _ in pages] == [0]
    row.refresh_from_db()
    assert (row.status, row.success) == (30, None)


class FinishedAfterTheLoad(Job.objects._queryset_class):
    """A query of which every row is done as soon as it is loaded."""

    def __iter__(self):
        rows = list(super().__iter__())
        for row in rows:
            Job.objects.using(self.db).get(pk=row.pk).done()
        return iter(rows)


def test_many_rows_go_in_pages(using, monkeypatch, django_assert_max_num_queries):
    from django.db import connections

    monkeypatch.setattr(querysets, "PAGE", 10)
    Job.objects.using(using).bulk_create([Job() for _ in range(95)])
    with django_assert_max_num_queries(60, connection=connections[using]):
        assert Job.do_auto_reset() == 95
    assert len(queued()) == 95


def test_a_page_of_composite_keys_is_not_too_long_for_sqlite(using):
    rows = [PairJob(tenant=1, number=number) for number in range(1001)]
    PairJob.objects.using(using).bulk_create(rows)
    assert PairJob.do_auto_reset() == 1001
    assert len(queued()) == 1001


@pytest.mark.parametrize(
    ("using", "target"),  # a list's entry names rows of the default database only
    [
        ("default", "celery"),
        ("server", "celery"),
        ("default", "redis"),
        ("default", "both"),
    ],
)
def test_rows_that_wait_in_a_long_queue_do_not_flood_it(using, settings, monkeypatch, target):
    """With no worker; in ten pages. The proofs do it with ten thousand rows."""
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = target
    monkeypatch.setattr(Job, "task_wait_timeout", 1)
    monkeypatch.setattr(querysets, "PAGE", 100)
    assert_resets_do_not_flood(using, 1_000, target)


def test_rows_whose_messages_are_lost_are_published_however_many(using):
    rows = [Job.objects.using(using).create() for _ in range(4)]
    for row in rows:
        at(using, row, -1)
    in_queue(4)
    assert Job.do_auto_reset() == 0
    queued()  # and now they are not there any more
    rows[0].publish()
    in_queue(1)
    assert Job.do_auto_reset() == 3
    assert len(queued()) == 4


def test_a_queue_that_is_empty_can_be_asked_again_and_again():
    counts = [broker.messages_in_queue("default") for _ in range(3)]
    assert counts == [0, 0, 0]
    current_app.send_task("nothing", queue=current_app.conf.task_default_queue)
    in_queue(1)


def test_a_row_that_waits_very_long_is_published_whatever_the_queue_holds(using):
    row = Job.objects.using(using).create()
    at(using, row, -Job.task_wait_timeout * 11)
    assert Job.do_auto_reset() == 1
    assert len(queued()) == 2


def test_while_the_broker_fails_rows_stay_due(using):
    row = Job.objects.using(using).create()
    at(using, row, -1)
    running = Job.objects.using(using).create()
    at(using, running, -1, status=20, start_time=timezone.now())
    queued()
    to_celery.breaker.open()
    assert Job.do_auto_reset() == 1  # the one that ran: no broker keeps its reset back
    close_breakers()
    assert Job.do_auto_reset() == 1
    assert [message["id"] for message in queued()] == [row.pk]


def test_one_table_that_fails_does_not_keep_the_others(using, monkeypatch, caplog):
    from django.db import OperationalError

    def fails(cls):
        raise OperationalError("as told")

    monkeypatch.setattr(Job, "do_auto_reset", classmethod(fails))
    row = Steps.objects.using(using).create()
    long_ago = timezone.now() - datetime.timedelta(hours=1)
    Steps.objects.using(using).update(auto_reset_time=long_ago)
    before = auto_reset.age()
    with pytest.raises(auto_reset.AutoResetFailed, match=r"jobs\.job \(OperationalError\)"):
        tasks.do_auto_reset()
    row.refresh_from_db()
    assert row.auto_reset_time > timezone.now()
    assert "Auto-reset of jobs.job failed" in caplog.text
    age = auto_reset.age()
    assert age is None or age >= before  # it does not count as one that ran
    with pytest.raises(CommandError, match=r"jobs\.job"):
        call_command("simpletask2_auto_reset")


def test_a_row_whose_runs_are_lost_five_times_in_a_row_is_given_up(using, caplog):
    row = Job.objects.using(using).create()
    for number in range(1, 6):
        overdue(using, row)
        assert tasks.do_auto_reset()["jobs.job"] == (number < 5)
        row.refresh_from_db()
        assert row.status == (row.READY if number < 5 else row.DONE)
    assert (row.success, row.auto_reset_time) == (False, None) and row.done_time
    [record] = [r for r in caplog.records if "given up" in r.getMessage()]
    assert record.levelname == "ERROR" and "2910009" in record.getMessage()
    assert "5 runs of it in a row did not come to an end" in record.getMessage()


def test_the_cache_is_asked_a_few_times_for_a_page_of_lost_runs(using, monkeypatch):
    over = timezone.now() - datetime.timedelta(hours=1)
    lost = {"status": 20, "start_time": over, "auto_reset_time": over}
    Job.objects.using(using).bulk_create(Job(**lost) for _ in range(1000))
    asked, ask = [], redis_connection.ask

    def counted(*question):
        asked.append(question)
        return ask(*question)

    monkeypatch.setattr(redis_connection, "ask", counted)
    assert Job.do_auto_reset() == 1000
    assert 3 <= len(asked) <= 6


def test_a_lost_run_that_is_found_twice_counts_once(using, settings):
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 2
    row = Job.objects.using(using).create()
    overdue(using, row)
    lost = Job.objects.using(using).get()
    for _ in range(5):
        assert lost_runs.give_up([lost]) == [lost]
    at(using, row, -1, start_time=timezone.now())  # another run of it
    assert lost_runs.give_up([Job.objects.using(using).get()]) == []


@pytest.mark.parametrize("change", ["renewed", "reset", "done", "claimed again"])
def test_a_row_that_goes_on_is_not_given_up(using, settings, change):
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 1
    row = Job.objects.using(using).create()
    overdue(using, row)
    lost = Job.objects.using(using).get()
    now = Job.objects.using(using).get()
    if change == "renewed":
        at(using, row, 60)
    elif change == "done":
        now.done()
    else:
        now.reset()
        if change == "claimed again":
            overdue(using, row)
    before = list(Job.objects.using(using).values())
    assert lost_runs.give_up([lost]) == []
    assert list(Job.objects.using(using).values()) == before


def test_without_a_cache_no_row_is_given_up(using, settings, monkeypatch):
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 2
    monkeypatch.setattr(hints, "_redis", lambda: 1 / 0)
    row = Job.objects.using(using).create()
    for _ in range(3):
        overdue(using, row)
        assert tasks.do_auto_reset()["jobs.job"] == 1


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
@pytest.mark.parametrize("most", [5, 1])
def test_a_row_that_its_handler_has_locked_is_left_to_it(settings, most):
    """In a transaction longer than its lease: to wait would be to reset it at its end."""
    if not connections["server"].features.has_select_for_update_skip_locked:
        pytest.skip("the database cannot tell")
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = most
    rows = [Job.objects.using("server").create() for _ in range(2)]
    for row in rows:
        overdue("server", row)
    locked, go_on = threading.Event(), threading.Event()

    def handler():
        try:
            with transaction.atomic("server"):
                Job.objects.using("server").filter(pk=rows[0].pk).update(note="mine")
                locked.set()
                go_on.wait(30)
        finally:
            connections.close_all()

    thread = threading.Thread(target=handler)
    thread.start()
    try:
        assert locked.wait(10)
        began = clock()
        dealt_with = 10 if most > 1 else 30
        assert tasks.do_auto_reset()["jobs.job"] == (most > 1)
        assert clock() - began < 5
        statuses = [row.status for row in Job.objects.using("server").order_by("pk")]
        assert statuses == [20, dealt_with]
    finally:
        go_on.set()
        thread.join()
    assert tasks.do_auto_reset()["jobs.job"] == (most > 1)
    assert Job.objects.using("server").get(pk=rows[0].pk).status == dealt_with


def test_lost_runs_are_counted_in_a_row(using, settings):
    """What an operator has reset begins anew; and a row that is DONE only he resets."""
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 2
    row = Job.objects.using(using).create()
    for _ in range(3):
        overdue(using, row)
        assert tasks.do_auto_reset()["jobs.job"] == 1
        Job.objects.using(using).get().reset()
    overdue(using, row)
    assert tasks.do_auto_reset()["jobs.job"] == 1
    overdue(using, row)
    assert tasks.do_auto_reset()["jobs.job"] == 0
    row.refresh_from_db()
    assert (row.status, row.success) == (30, False)
