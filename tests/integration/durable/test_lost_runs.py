"""What becomes of durable rows whose run or message is lost."""

import datetime

import pytest
from django.utils import timezone

from simpletask2_celery import conf, signals
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.recovery import lost_runs
from simpletask2_celery.rows import claiming, fence, transitions
from simpletask2_celery.running import executor
from tests.support.fixtures import queued
from tests.support.project.jobs.models import DurableJob, DurableSteps, Job

HOUR = datetime.timedelta(hours=1)


def lose(row, **values):
    """Let the row's run, or its message, be lost, and its time be over."""
    values = {"auto_reset_time": timezone.now() - HOUR, **values}
    type(row).objects.using(row._state.db).filter(pk=row.pk).update(**values)


def claimed(model, using, **fields):
    row = claiming.claim(model, using, model.objects.using(using).create(**fields).pk)
    fence.lift(row)
    return row


@pytest.mark.parametrize("model", [DurableJob, DurableSteps])
def test_a_lost_run_is_counted_and_the_row_is_ready_again(using, model):
    row = claimed(model, using)
    lose(row)
    waiting = model.objects.using(using).create()
    lose(waiting)
    queued()
    assert model.do_auto_reset() == 2
    assert {message["id"] for message in queued()} == {row.pk, waiting.pk}
    for one, lost in ((row, 1), (waiting, 0)):
        one.refresh_from_db()
        assert (one.status, one.lost_attempts, one.attempts) == (one.READY, lost, lost)


def test_a_released_row_goes_on_after_its_last_completed_step(using, handler):
    called = []
    handler(lambda row, payload: called.append(payload["step"]))
    row = claimed(DurableSteps, using, what="told")
    lose(row, completed_step=1, auto_reset_time=timezone.now() + HOUR)
    row.refresh_from_db()
    assert transitions.release(row)
    executor.run(DurableSteps, using, row.pk)
    row.refresh_from_db()
    assert called == [2, 3]
    assert (row.success, row.attempts, row.lost_attempts) == (True, 2, 1)
    assert row.step1_time < row.step2_time  # of the first attempt, and of the second


def test_a_row_that_has_lost_too_many_runs_is_given_up_with_an_error(using):
    row = claimed(DurableJob, using)
    lose(row, lost_attempts=conf.conf.max_lost_runs - 1)
    DurableJob.do_auto_reset()
    row.refresh_from_db()
    assert (row.status, row.success) == (row.DONE, False)
    assert row.errors[-1]["exception_class_path"].endswith("WorkerLostError")
    assert row.lost_attempts == conf.conf.max_lost_runs  # which the error's message says
    assert f"{row.lost_attempts} runs" in row.errors[-1]["message"]
    assert lost_runs.give_up([]) == []


def test_lost_runs_are_no_retries(using, handler):
    handler(lambda row, payload: int("x"))
    row = DurableJob.objects.using(using).create(what="told", attempts=3, lost_attempts=3)
    for _ in range(3):
        with pytest.raises(Exception, match="ValueError"):
            executor.run(DurableJob, using, row.pk)
        lose(row, run_after=None)
    with pytest.raises(DjangoSimpleTask2Error):
        executor.run(DurableJob, using, row.pk)


def test_a_time_ahead_is_kept_by_resets(using):
    far, soon = timezone.now() + 5 * HOUR, timezone.now() + HOUR / 6
    [parked, near] = DurableJob.objects.using(using).bulk_create(
        [DurableJob(run_after=far), DurableJob(run_after=soon)]
    )
    queued()
    DurableJob.do_auto_reset()
    rows = {row.run_after: row for row in DurableJob.objects.using(using)}
    assert rows[far].auto_reset_time == far
    wait = datetime.timedelta(seconds=near.task_wait_timeout)
    assert rows[soon].auto_reset_time == soon + wait
    assert [message["id"] for message in queued()] == [rows[soon].pk]
    assert DurableJob.do_auto_reset() == 0


def test_a_row_that_is_due_is_published_however_long_its_queue_is(using, monkeypatch):
    from simpletask2_celery.recovery import backlog

    row = DurableJob.objects.using(using).create(run_after=timezone.now() + 5 * HOUR)
    past = timezone.now() - datetime.timedelta(seconds=1)
    lose(row, run_after=past, auto_reset_time=past)
    queued()
    monkeypatch.setattr(backlog, "_messages_of", lambda channel: 1000.0)
    assert DurableJob.do_auto_reset() == 1
    assert [message["id"] for message in queued()] == [row.pk]


@pytest.mark.parametrize("model", [DurableJob, Job])
def test_a_row_that_was_due_in_days_is_published_and_no_message_is_said_to_be_lost(
    using, model, heard
):
    row = model.objects.using(using).create()
    row.publish(countdown=7 * 24 * 3600)
    queued()
    own = "run_after" if model is DurableJob else "start_time"  # where a row keeps its time
    past = dict.fromkeys(("auto_reset_time", own), timezone.now() - HOUR / 60)
    model.objects.using(using).filter(pk=row.pk).update(**past)
    assert model.do_auto_reset() == 1
    assert heard.of("task_reset") == [] and [one["id"] for one in queued()] == [row.pk]
    model.objects.using(using).update(auto_reset_time=timezone.now() - HOUR)
    assert model.do_auto_reset() == 1
    assert [one["reason"] for one in heard.of("task_reset")] == [signals.MESSAGE_LOST]
    queued()
