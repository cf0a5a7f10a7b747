"""``retry()`` and the options of retries: what is refused, and that a row ends in any case."""

import datetime
import inspect
import re

import pytest
from celery import Task
from celery.app.autoretry import add_autoretry_behaviour
from celery.exceptions import Retry
from django.utils import timezone

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.models import DurableTask
from simpletask2_celery.running import executor
from tests.support.project.jobs.models import AtomicSteps, DurableJob, DurableSteps

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def run(using, handler):
    """Run a row of which each step does what it is told; return the row and what it raised."""

    def run(told, model=DurableJob, row=None):
        handler(told)
        row = row or model.objects.using(using).create(what="told")
        caught = None
        try:
            executor.run(model, using, row.pk)
        except (DjangoSimpleTask2Error, Retry) as error:
            caught = error
        row.refresh_from_db()
        return row, caught

    return run


def test_the_defaults_are_celerys():
    of_a_task = DurableTask.max_retries, DurableTask.default_retry_delay
    assert of_a_task == (Task.max_retries, Task.default_retry_delay)
    source = inspect.getsource(add_autoretry_behaviour)
    for name in ("autoretry_for", "dont_autoretry_for"):
        assert getattr(DurableTask, name) == () and f"'{name}'" in source
    for name in ("retry_backoff", "retry_backoff_max", "retry_jitter"):
        [default] = set(re.findall(rf"'{name}', (\w+)\)", source))
        assert str(getattr(DurableTask, name)) == default


def seconds_until(moment):
    return (moment - timezone.now()).total_seconds()


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"countdown": -1}, "ValueError"),
        ({"countdown": float("inf")}, "ValueError"),
        ({"countdown": float("nan")}, "ValueError"),
        ({"countdown": 1e12}, "ValueError"),
        ({"countdown": "60"}, "TypeError"),
        ({"countdown": True}, "TypeError"),
        ({"eta": "tomorrow"}, "TypeError"),
        ({"eta": 3}, "TypeError"),
        ({"countdown": 1, "eta": timezone.now()}, "ValueError"),
        ({"exc": "a text"}, "TypeError"),
        ({"exc": ValueError}, "TypeError"),
        ({"max_retries": "3"}, "TypeError"),
        ({"max_retries": True}, "TypeError"),
        ({"max_retries": 1.5}, "TypeError"),
    ],
)
def test_a_wrong_argument_is_an_error_of_the_handler(run, arguments, kind, monkeypatch):
    monkeypatch.setattr(DurableJob, "autoretry_for", ())
    row, caught = run(lambda row, payload: row.retry(**arguments))
    assert caught.code == 2910009
    assert (row.status, row.success) == (row.DONE, False)
    assert row.errors[-1]["exception_class_path"] == f"builtins.{kind}"


@pytest.mark.parametrize("model", [DurableJob, DurableSteps, AtomicSteps])
def test_a_retry_without_a_reason_says_retry_until_the_retries_are_used_up(run, model):
    row, caught = run(lambda row, payload: row.retry(countdown=60, max_retries=1), model)
    assert isinstance(caught, Retry) and row.status == row.READY
    assert row.errors[0]["exception_class_path"] == "celery.exceptions.Retry"
    assert row.errors[0]["message"].startswith("Retry at ")
    assert "used up" not in str(caught) + str(row.errors)
    assert seconds_until(row.run_after) == pytest.approx(60, abs=5)
    model.objects.using(row._state.db).update(run_after=None)
    row, caught = run(lambda row, payload: row.retry(countdown=60, max_retries=1), model, row)
    assert "used up" in row.errors[1]["message"] and row.success is False


def test_retry_outside_of_a_run_is_refused(using, handler):
    row = DurableJob(what="told")
    with pytest.raises(RuntimeError, match="not in a run"):
        row.retry()
    row.save(using=using)
    with pytest.raises(RuntimeError, match="not in a run"):
        row.retry(countdown=5)
    handler(lambda row, payload: None)
    executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert row.success


def test_fewer_retries_than_there_were_attempts_end_the_row(run):
    row, _ = run(lambda row, payload: row.retry(countdown=0))
    DurableJob.objects.using(row._state.db).filter(pk=row.pk).update(attempts=9)
    row, caught = run(lambda row, payload: row.retry(exc=KeyError("k"), max_retries=2), row=row)
    assert caught.code == 2910009 and isinstance(caught.__cause__, KeyError)
    assert (row.status, row.success, row.attempts) == (row.DONE, False, 10)


def test_a_negative_number_of_retries_is_none(run):
    row, _ = run(lambda row, payload: row.retry(max_retries=-1))
    assert (row.status, row.success) == (row.DONE, False)


def test_no_maximum_is_no_end(run, monkeypatch):
    monkeypatch.setattr(DurableJob, "max_retries", None)
    row, _ = run(lambda row, payload: int("x"))
    DurableJob.objects.using(row._state.db).update(attempts=100_000, run_after=None)
    row, caught = run(lambda row, payload: int("x"), row=row)
    assert isinstance(caught, Retry) and row.status == row.READY


def test_no_maximum_in_a_call_is_the_models(run, monkeypatch):
    monkeypatch.setattr(DurableJob, "max_retries", 0)
    row, caught = run(lambda row, payload: row.retry(max_retries=None))
    assert caught.code == 2910009 and row.success is False


def test_lost_runs_are_no_retries(run):
    row, _ = run(lambda row, payload: int("x"))
    DurableJob.objects.using(row._state.db).update(attempts=6, lost_attempts=4, run_after=None)
    row, caught = run(lambda row, payload: int("x"), row=row)
    assert isinstance(caught, Retry) and row.attempts == 7


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("autoretry_for", ("not a class",)),
        ("autoretry_for", None),
        ("autoretry_for", 3),
        ("dont_autoretry_for", ("not a class",)),
        ("max_retries", "three"),
        ("default_retry_delay", "soon"),
        ("default_retry_delay", float("inf")),
        ("default_retry_delay", None),
        ("retry_backoff", "much"),
        ("retry_backoff", float("inf")),
    ],
)
@pytest.mark.parametrize("model", [DurableJob, AtomicSteps])
def test_a_wrong_option_fails_the_row_and_is_logged(run, monkeypatch, caplog, option, value, model):
    monkeypatch.setattr(model, option, value)
    row, caught = run(lambda row, payload: int("x"), model)
    assert caught.code == 2910009 and "invalid literal" in str(caught)
    assert (row.status, row.success) == (row.DONE, False)
    assert row.errors[-1]["exception_class_path"] == "builtins.ValueError"
    assert "its options of retries fail" in caplog.text


@pytest.mark.parametrize("option", ["max_retries", "default_retry_delay"])
def test_a_wrong_option_under_retry_fails_the_row(run, monkeypatch, option):
    monkeypatch.setattr(DurableJob, option, "three")
    row, caught = run(lambda row, payload: row.retry())
    assert caught.code == 2910009
    assert (row.status, row.success) == (row.DONE, False)


def test_an_exception_that_is_not_to_be_retried_is_not(run, monkeypatch):
    monkeypatch.setattr(DurableJob, "autoretry_for", (Exception,))
    monkeypatch.setattr(DurableJob, "dont_autoretry_for", (KeyError,))
    row, caught = run(lambda row, payload: {}["x"])
    assert caught.code == 2910009 and row.success is False


def test_backoff_is_celerys_and_is_for_autoretry_alone(run, monkeypatch):
    monkeypatch.setattr(DurableJob, "retry_backoff", 10)
    monkeypatch.setattr(DurableJob, "retry_jitter", False)
    monkeypatch.setattr(DurableJob, "retry_backoff_max", 35)
    monkeypatch.setattr(DurableJob, "max_retries", None)
    row, waits = None, []
    for _ in range(4):
        row, _ = run(lambda row, payload: int("x"), row=row)
        waits.append(round(seconds_until(row.run_after), -1))
        DurableJob.objects.using(row._state.db).update(run_after=None)
    assert waits[:2] == [10, 20] and waits[2:] == pytest.approx([35, 35], abs=6)
    row, _ = run(lambda row, payload: row.retry(), row=row)
    assert seconds_until(row.run_after) == pytest.approx(180, abs=5)


def test_jitter_waits_up_to_the_backoff(run, monkeypatch):
    monkeypatch.setattr(DurableJob, "retry_backoff", 100)
    waits = []
    for _ in range(8):
        row, _ = run(lambda row, payload: int("x"))
        waits.append(seconds_until(row.run_after))
    assert -5 < min(waits) and max(waits) <= 101
    assert len({round(wait) for wait in waits}) > 1


def test_a_retry_far_ahead_is_kept_by_the_row(run):
    far = timezone.now() + 24 * 365 * 100 * HOUR
    row, caught = run(lambda row, payload: row.retry(eta=far))
    assert isinstance(caught, Retry)
    assert row.run_after == far == row.auto_reset_time


def test_a_retry_in_the_past_is_due_at_once(run):
    row, caught = run(lambda row, payload: row.retry(eta=timezone.now() - HOUR))
    assert isinstance(caught, Retry)
    row, caught = run(lambda row, payload: None, row=row)
    assert caught is None and row.success


def test_what_a_failed_attempt_left_unsaved_is_gone_and_what_it_saved_stays(run):
    def told(row, payload):
        row.note = "saved"
        row.save()
        row.note, row.topic = "not saved", "a"
        raise ValueError("again")

    row, _ = run(told)
    assert (row.note, row.topic, row.attempts) == ("saved", "", 1)


def test_the_last_failure_saves_what_the_handler_left(run):
    def told(row, payload):
        row.note = "kept"
        raise OSError

    row, _ = run(told)
    assert (row.note, row.success) == ("kept", False)


def test_the_last_failure_of_a_row_that_resumes_keeps_what_the_handler_saved_itself(run):
    """Its fields stay as its last completed step left them: a reset may go on from there."""

    def told(row, payload):
        row.note += str(payload["step"])
        if payload["step"] == 2:
            row.save()
            row.note += " not saved"
            raise OSError

    row, _ = run(told, DurableSteps)
    assert (row.note, row.success, row.completed_step) == ("12", False, 1)


def test_the_last_failure_of_an_atomic_step_saves_nothing_of_it(run):
    def told(row, payload):
        row.note += str(payload["step"])
        row.save()
        if payload["step"] == 2:
            raise OSError

    row, _ = run(told, AtomicSteps)
    assert (row.note, row.success, row.completed_step) == ("1", False, 1)
