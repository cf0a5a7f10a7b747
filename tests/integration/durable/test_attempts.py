"""Attempts, retries and errors of durable rows."""

import datetime

import pytest
from celery.exceptions import MaxRetriesExceededError, Retry
from django.utils import timezone

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.running import executor
from tests.support.project.jobs.models import AtomicSteps, DurableJob, DurableSteps

DEEP = [[]]
for _ in range(60):
    DEEP = [DEEP]
UNHELD = [{1, 2}, float("nan"), "\0", "\ud800", 10**5000, DEEP, {"a": "\0b"}]


def run(row):
    try:
        executor.run(type(row), row._state.db, row.pk)
    finally:
        row.refresh_from_db()


def make(model, using, **fields):
    return model.objects.using(using).create(what="told", **fields)


def make_due(row):
    type(row).objects.using(row._state.db).filter(pk=row.pk).update(run_after=None)


def test_a_handler_that_raises_is_tried_again_after_celerys_delay(using, handler):
    handler(lambda row, payload: 1 / 0 if row.attempts > 1 else int("x"))
    row = make(DurableJob, using)
    before = timezone.now()
    with pytest.raises(Retry) as caught:
        run(row)
    assert "ValueError" in str(caught.value)
    delay = (row.run_after - before).total_seconds()
    assert (row.status, row.attempts, row.success) == (row.READY, 1, None)
    assert delay == pytest.approx(180, abs=5)
    wait = (row.auto_reset_time - row.run_after).total_seconds()
    assert wait == pytest.approx(row.task_wait_timeout, abs=1)
    [error] = row.errors
    assert error["attempt"] == error["step"] == 1
    assert error["exception_class_path"] == "builtins.ValueError"
    assert "invalid literal" in error["message"]
    assert 'int("x")' in error["traceback"]

    with pytest.raises(DjangoSimpleTask2Error) as early:
        run(row)
    assert early.value.code == 2910016
    assert row.attempts == 1

    make_due(row)
    with pytest.raises(DjangoSimpleTask2Error) as failed:
        run(row)  # a ZeroDivisionError, which is not listed
    assert failed.value.code == 2910009
    assert (row.status, row.success, row.attempts) == (row.DONE, False, 2)
    assert [one["exception_class_path"] for one in row.errors] == [
        "builtins.ValueError",
        "builtins.ZeroDivisionError",
    ]


@pytest.mark.parametrize("kinds", [ValueError, [ValueError], (KeyError, ValueError)])
def test_what_is_retried_is_a_class_or_several(using, handler, monkeypatch, kinds):
    monkeypatch.setattr(DurableJob, "autoretry_for", kinds)
    handler(lambda row, payload: int("x"))
    row = make(DurableJob, using)
    with pytest.raises(Retry):
        run(row)
    monkeypatch.setattr(DurableJob, "dont_autoretry_for", kinds)
    make_due(row)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)


def test_retries_are_used_up(using, handler):
    handler(lambda row, payload: int("x"))
    row = make(DurableJob, using)
    for _ in range(3):
        with pytest.raises(Retry):
            run(row)
        make_due(row)
    with pytest.raises(DjangoSimpleTask2Error) as failed:
        run(row)
    assert failed.value.code == 2910009
    assert (row.status, row.success, row.attempts, len(row.errors)) == (row.DONE, False, 4, 4)


def test_retry_of_a_handler(using, handler):
    at = timezone.now() + datetime.timedelta(hours=5)

    def told(row, payload):
        try:
            raise KeyError("gone")
        except KeyError:
            row.note = "not saved"
            row.retry(eta=at, max_retries=1)

    handler(told)
    row = make(DurableJob, using)
    with pytest.raises(Retry):
        run(row)
    assert row.note == ""
    assert row.run_after == at == row.auto_reset_time  # no message: auto-reset publishes it
    assert row.errors[0]["message"] == "'gone'"
    make_due(row)
    with pytest.raises(DjangoSimpleTask2Error) as failed:
        run(row)
    assert isinstance(failed.value.__cause__, KeyError)


def test_a_retry_without_a_reason_says_that_they_are_used_up(using, handler):
    handler(lambda row, payload: row.retry(max_retries=0))
    row = make(DurableJob, using)
    with pytest.raises(DjangoSimpleTask2Error) as failed:
        run(row)
    assert isinstance(failed.value.__cause__, MaxRetriesExceededError)


@pytest.mark.parametrize("model", [DurableSteps, AtomicSteps])
def test_steps_resume(using, handler, model):
    called = []

    def told(row, payload):
        called.append(payload["step"])
        row.note += str(payload["step"])
        if payload["step"] == 2 and row.attempts < 3:
            raise ValueError("not yet")

    handler(told)
    row = make(model, using)
    for _ in range(2):
        with pytest.raises(Retry):
            run(row)
        assert (row.completed_step, row.note) == (1, "1")
    run(row)
    assert called == [1, 2, 2, 2, 3]
    assert (row.status, row.success, row.note, row.completed_step) == (row.DONE, True, "123", 3)
    assert row.step1_time < row.step2_time < row.step3_time


def test_a_return_value_is_kept(using, handler):
    handler(lambda row, payload: {"n": 1, "of": ["ä", None]})
    row = make(DurableJob, using)
    run(row)
    assert row.return_value == {"n": 1, "of": ["ä", None]}


@pytest.mark.parametrize("value", UNHELD, ids=range(len(UNHELD)))
def test_what_json_cannot_hold_is_not_kept_and_the_row_ends(using, handler, value, caplog):
    handler(lambda row, payload: value)
    row = make(DurableJob, using)
    run(row)
    assert (row.success, row.return_value) == (True, None)
    assert "is not kept" in caplog.text


def test_an_atomic_step_commits_with_what_it_wrote_or_not_at_all(using, handler):
    def told(row, payload):
        DurableJob.objects.using(using).create(note=f"{row.attempts}.{payload['step']}")
        if payload["step"] == 2 and row.attempts == 1:
            raise ValueError("not yet")

    handler(told)
    row = make(AtomicSteps, using)
    with pytest.raises(Retry):
        run(row)
    run(row)
    notes = DurableJob.objects.using(using).order_by("pk").values_list("note", flat=True)
    assert [*notes] == ["1.1", "2.2", "2.3"]


def test_an_atomic_step_that_has_lost_its_claim_writes_nothing(using, handler):
    def told(row, payload):
        DurableJob.objects.using(using).create(note="lost")
        type(row).objects.using(using).filter(pk=row.pk).update(start_time=timezone.now())

    handler(told)
    row = make(AtomicSteps, using)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert not DurableJob.objects.using(using).exists()


@pytest.mark.parametrize("status", [10, 20])
def test_cancel(using, handler, status):
    row = make(DurableJob, using)
    if status == 20:

        def told(mine, payload):
            assert mine.is_claimed()
            assert row.cancel()
            assert not mine.is_claimed()

        handler(told)
        with pytest.raises(DjangoSimpleTask2Error):
            run(row)
    else:
        assert row.cancel()
    assert (row.status, row.success) == (row.DONE, False)
    row.refresh_from_db()
    assert (row.status, row.success) == (row.DONE, False)
    assert row.errors[-1]["message"] == "cancelled"
    assert not row.cancel()


def test_a_reset_forgets(using, handler):
    handler(lambda row, payload: int("x"))
    row = make(DurableSteps, using)
    with pytest.raises(Retry):
        run(row)
    row.reset()
    row.refresh_from_db()
    assert (row.attempts, row.errors, row.run_after, row.status) == (0, [], None, row.READY)


def test_a_forced_run_begins_at_the_first_step(using, handler):
    called = []
    handler(lambda row, payload: called.append(payload["step"]))
    row = make(DurableSteps, using)
    run(row)
    executor.run(type(row), using, row.pk, force=True)
    assert called == [1, 2, 3, 1, 2, 3]


def test_a_reset_that_resumes_a_row_that_is_done_has_nothing_to_do(using, handler):
    called = []
    handler(lambda row, payload: called.append(payload["step"]))
    row = make(DurableSteps, using)
    run(row)
    row.reset(resume=True)
    run(row)
    assert called == [1, 2, 3]
    assert (row.status, row.success, row.attempts) == (row.DONE, True, 1)
    assert row.current_step_display() == "3/3"


def test_a_step_that_fails_for_good_leaves_the_fields_to_the_one_before(using, handler):
    def told(row, payload):
        row.note += str(payload["step"])
        if payload["step"] == 2 and len(row.errors) == 0:
            raise KeyError("not listed")

    handler(told)
    row = make(DurableSteps, using)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert (row.status, row.success, row.note) == (row.DONE, False, "1")
    row.reset(resume=True).refresh_from_db()
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert (row.note, row.completed_step) == ("1", 1)


def test_a_row_does_not_cancel_itself_in_its_handler(using, handler):
    handler(lambda row, payload: row.cancel())
    row = make(DurableJob, using)
    with pytest.raises(DjangoSimpleTask2Error) as failed:
        run(row)
    assert isinstance(failed.value.__cause__, RuntimeError)


def test_a_copy_is_a_new_row_that_keeps_its_time(using, handler):
    handler(lambda row, payload: int("x"))
    row = make(DurableJob, using)
    with pytest.raises(Retry):
        run(row)
    at = row.run_after
    row.pk = None
    row.save(force_insert=True)
    row.refresh_from_db()
    assert (row.attempts, row.errors, row.status, row.run_after) == (0, [], row.READY, at)


def test_a_row_that_is_not_due_is_not_handed_out(using):
    from simpletask2_celery.rows import claiming

    due = make(DurableJob, using, run_after=timezone.now() - datetime.timedelta(seconds=5))
    later = make(DurableJob, using, run_after=timezone.now() + datetime.timedelta(hours=1))
    assert [*claiming.unreserved(DurableJob, using)] == [due]
    assert not claiming.reserve(DurableJob, using, later.pk)


def test_the_testing_kit_runs_retries_without_sleeping(using, handler):
    from simpletask2_celery.testing import run as run_here

    handler(lambda row, payload: int("x" if row.attempts < 3 else "7"))
    done = run_here(make(DurableJob, using, run_after=timezone.now() + datetime.timedelta(days=1)))
    assert (done.row.attempts, done.row.return_value, done.data) == (3, 7, 7)
