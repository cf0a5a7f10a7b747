"""Cancel a durable row, reset it, and ask in a run whether it has its row still."""

import threading

import pytest
from celery.exceptions import Retry
from django.db import connections, transaction
from django.utils import timezone

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.publishing import broker
from simpletask2_celery.running import executor
from tests.support.fixtures import queued
from tests.support.project.jobs.models import AtomicSteps, DurableJob, DurableSteps


def make(using, model=DurableJob, **fields):
    return model.objects.using(using).create(what="told", **fields)


def run(row):
    try:
        return executor.run(type(row), row._state.db, row.pk)
    finally:
        row.refresh_from_db()


def elsewhere(call):
    """Call a function in a thread, which has a session of its own."""

    def with_own_session():
        try:
            call()
        finally:
            connections.close_all()

    thread = threading.Thread(target=with_own_session)
    thread.start()
    thread.join()


def test_a_row_that_is_not_saved_cannot_be_cancelled(using):
    with pytest.raises(ValueError, match="save it before cancelling"):
        DurableJob().cancel()
    row = make(using)
    row._state.adding = True
    with pytest.raises(ValueError, match="save it before cancelling"):
        row.cancel()


def test_a_row_that_is_gone_cannot_be_cancelled(using):
    row = make(using)
    DurableJob.objects.using(using).all().delete()
    assert row.cancel() is False


def test_a_cancelled_row_says_so_and_its_message_does_nothing(using, handler):
    handler(lambda row, payload: 1 / 0)
    row = make(using)
    assert row.cancel() is True
    assert (row.status, row.success) == (row.DONE, False)
    row.refresh_from_db()
    [error] = row.errors
    assert (error["message"], error["traceback"], error["worker"]) == ("cancelled", "", None)
    assert error["exception_class_path"].endswith(".Cancelled")
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        run(row)
    assert caught.value.code == 2910015


def test_a_row_that_waits_for_its_next_attempt_is_cancelled(using, handler):
    handler(lambda row, payload: int("x"))
    row = make(using)
    with pytest.raises(Retry):
        run(row)
    assert row.cancel()
    row.refresh_from_db()
    assert [one["attempt"] for one in row.errors] == [1, 1]
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert row.status == row.DONE


@pytest.mark.parametrize("model", [DurableJob, DurableSteps, AtomicSteps])
@pytest.mark.parametrize("raises", [False, True])
def test_a_run_that_was_cancelled_writes_nothing_any_more(using, handler, model, raises):
    def told(row, payload):
        row.note = "of the run"
        elsewhere(lambda: model.objects.using(using).get(pk=row.pk).cancel())
        if raises:
            raise ValueError("again")

    handler(told)
    if model is AtomicSteps and using == "default":
        pytest.skip("an atomic step has locked SQLite: nobody else writes to it meanwhile")
    row = make(using, model)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert row.note == ""


def test_a_cancel_waits_for_the_commit_with_the_call_that_ends_the_handler(using, monkeypatch):
    revoked = []
    monkeypatch.setattr(broker, "terminate", lambda *args: revoked.append(args))
    row = make(using)
    DurableJob.objects.using(using).update(status=20, start_time=timezone.now(), celery_id="abc")
    with transaction.atomic(using):
        assert row.cancel(terminate=True)
        assert revoked == []
    assert revoked == [("abc", "SIGUSR1")]


def test_a_cancel_without_terminate_and_of_a_ready_row_asks_no_worker(using, monkeypatch):
    asked = []
    monkeypatch.setattr(broker, "terminate", lambda *args: asked.append(args))
    row = make(using)
    assert row.cancel(terminate=True)
    row = make(using)
    DurableJob.objects.using(using).filter(pk=row.pk).update(status=20, celery_id="abc")
    assert row.cancel()
    assert asked == []


def test_a_cancel_holds_where_the_broker_does_not(using, monkeypatch, caplog):
    def refuse(*args):
        raise ConnectionError("no broker")

    monkeypatch.setattr(broker, "terminate", refuse)
    row = make(using)
    DurableJob.objects.using(using).filter(pk=row.pk).update(status=20, celery_id="abc")
    assert row.cancel(terminate=True)
    row.refresh_from_db()
    assert row.status == row.DONE and "was not asked to end it" in caplog.text


def test_a_cancelled_row_runs_again_after_a_reset(using, handler):
    handler(lambda row, payload: "done")
    row = make(using)
    row.cancel()
    row.reset().publish()
    assert len(queued()) == 2
    run(row)
    assert (row.success, row.errors, row.attempts) == (True, [], 1)


def test_is_claimed_outside_of_a_run_is_false(using):
    row = make(using)
    assert row.is_claimed() is False
    assert DurableJob().is_claimed() is False


def test_is_claimed_is_false_after_a_reset_and_another_claim(using, handler):
    seen = []

    def told(row, payload):
        seen.append(row.is_claimed())
        if len(seen) == 1:
            type(row).objects.using(using).get(pk=row.pk).reset()
            seen.append(row.is_claimed())
            type(row).objects.using(using).filter(pk=row.pk).update(status=20)
            seen.append(row.is_claimed())

    handler(told)
    row = make(using)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert seen == [True, False, False]


@pytest.mark.parametrize("resume", [False, True])
def test_a_reset_of_a_done_row_begins_again_or_goes_on(using, handler, resume):
    """A row whose steps have all run has nothing to go on with: it ends at once."""
    called = []
    handler(lambda row, payload: called.append(payload["step"]))
    row = make(using, DurableSteps)
    run(row)
    assert row.reset(resume=resume) is row
    row.refresh_from_db()
    assert (row.status, row.attempts, row.errors) == (row.READY, 0, [])
    run(row)
    assert called == ([1, 2, 3] if resume else [1, 2, 3, 1, 2, 3])
    assert (row.status, row.success, row.attempts) == (row.DONE, True, 1)
    assert row.completed_step == 3


def test_a_reset_goes_on_after_the_step_that_failed_for_good(using, handler):
    called, breaks = [], [True]

    def told(row, payload):
        called.append(payload["step"])
        row.note += str(payload["step"])
        if payload["step"] == 2 and breaks:
            raise OSError

    handler(told)
    row = make(using, DurableSteps)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert (row.success, row.completed_step) == (False, 1)
    breaks.clear()
    row.reset(resume=True)
    run(row)
    assert (called, row.success) == ([1, 2, 2, 3], True)
    row.reset()
    run(row)
    assert called[4:] == [1, 2, 3]


def test_a_reset_that_is_to_resume_begins_a_model_anew_that_does_not(using, handler):
    called = []
    handler(lambda row, payload: called.append(payload["step"]))
    row = make(using)
    run(row)
    row.reset(resume=True)
    run(row)
    assert called == [1, 1] and row.success


@pytest.mark.parametrize("model", [DurableSteps, AtomicSteps])
def test_a_row_with_fewer_steps_than_it_has_completed_ends(using, handler, monkeypatch, model):
    """A deployment has taken the last steps away."""
    handler(lambda row, payload: 1 / 0)
    row = make(using, model)
    model.objects.using(using).filter(pk=row.pk).update(completed_step=2)
    monkeypatch.setattr(model, "final_step", 2)
    run(row)
    assert (row.status, row.success, row.return_value) == (row.DONE, True, None)
