"""Function tasks that run: results, errors, context, signals, retries."""

import datetime
import logging

import pytest
from celery.exceptions import Retry
from django.utils import timezone

from simpletask2_celery.django_tasks.api import (
    TaskResultStatus,
    logger,
    task_backends,
    task_finished,
    task_started,
)
from simpletask2_celery.django_tasks.models import FunctionTask
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.rows import claiming
from simpletask2_celery.running import executor
from tests.support.project.jobs import functions
from tests.support.project.jobs.models import Ledger

PATH = functions.__name__


def run(result, times=1):
    """Run the row of a result so often, and return the result anew."""
    for _ in range(times):
        try:
            executor.run(FunctionTask, row_of(result)._state.db, result.id)
        except (DjangoSimpleTask2Error, Retry):
            pass
        FunctionTask.objects.filter(pk=result.id).update(run_after=None)
    result.refresh()
    return result


def row_of(result):
    return FunctionTask.objects.get(pk=result.id)


@pytest.mark.parametrize("task", [functions.add, functions.add_later])
def test_a_function_runs_and_returns(task):
    result = run(task.enqueue(1, b=41))
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 42)
    assert result.is_finished and result.errors == []
    assert result.attempts == len(result.worker_ids) == 1
    assert result.enqueued_at <= result.started_at <= result.finished_at
    assert result.last_attempted_at == result.started_at


@pytest.mark.parametrize("task", [functions.fail, functions.fail_later, functions.exit_process])
def test_a_function_that_raises_has_failed(task):
    result = run(task.enqueue())
    assert result.status == TaskResultStatus.FAILED and result.is_finished
    assert result.started_at <= result.finished_at
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    [error] = result.errors
    kind = SystemExit if task is functions.exit_process else ValueError
    assert error.exception_class is kind
    assert f"in {task.name}" in error.traceback
    assert "simpletask2_celery" not in error.traceback.partition("direct cause")[0]


@pytest.mark.parametrize("what", ["set", "nan", "nul", "object", "bad bytes"])
def test_what_json_cannot_hold_fails_the_task(what):
    result = run(functions.give.enqueue(what))
    assert result.status == TaskResultStatus.FAILED
    assert result.errors[0].exception_class in (TypeError, ValueError)
    assert row_of(result).return_value is None


def test_a_return_value_is_as_json_has_it():
    assert run(functions.give.enqueue("tuple")).return_value == [1, [2, 3]]
    assert run(functions.give.enqueue("bytes")).return_value == "ab"


def test_no_return_value_asks_for_a_request():
    proxy = {"proxy": {"url": "http://127.0.0.1:1/"}}
    assert run(functions.give.enqueue("proxy")).return_value == proxy


def test_the_context_is_the_result_of_this_attempt():
    result = run(functions.tell.enqueue(7, more=8))
    assert result.return_value == [result.id, 1, "RUNNING", result.worker_ids, [7], 8]


def test_a_claimed_task_is_running(using):
    result = functions.add.enqueue(1)
    claiming.claim(FunctionTask, using, row_of(result).pk)
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.RUNNING, 1)
    assert not result.is_finished
    assert result.started_at == result.last_attempted_at <= timezone.now()
    with pytest.raises(ValueError, match="has not finished"):
        _ = result.return_value


@pytest.fixture
def heard():
    told = []

    def hear(signal, sender, task_result, **kwargs):
        told.append((signal, sender.__name__, task_result.id, str(task_result.status)))

    for signal in (task_started, task_finished):
        signal.connect(hear)
    yield told
    for signal in (task_started, task_finished):
        signal.disconnect(hear)


@pytest.mark.parametrize(
    ("task", "end"), [(functions.add, "SUCCESSFUL"), (functions.fail, "FAILED")]
)
def test_djangos_signals_come_in_the_worker(heard, task, end):
    result = run(task.enqueue(1))
    assert heard == [
        (task_started, "CeleryBackend", result.id, "RUNNING"),
        (task_finished, "CeleryBackend", result.id, end),
    ]


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
def test_djangos_log_has_each_task(caplog, level):
    logger.setLevel(level)
    caplog.set_level(level)
    try:
        good, bad = run(functions.add.enqueue(1)), run(functions.fail.enqueue())
    finally:
        logger.setLevel(logging.NOTSET)
    lines = [
        (record.levelname, record.getMessage())
        for record in caplog.records
        if record.name == logger.name
    ]
    expected = [
        ("INFO", f"Task id={good.id} path={PATH}.add state=RUNNING"),
        ("INFO", f"Task id={good.id} path={PATH}.add state=SUCCESSFUL"),
        ("INFO", f"Task id={bad.id} path={PATH}.fail state=RUNNING"),
        ("ERROR", f"Task id={bad.id} path={PATH}.fail state=FAILED"),
    ]
    assert lines == (expected if level == logging.INFO else expected[-1:])


def test_a_receiver_that_fails_changes_nothing():
    def fail(**kwargs):
        raise ValueError("of a receiver")

    task_started.connect(fail)
    try:
        assert run(functions.add.enqueue(1)).return_value == 2
    finally:
        task_started.disconnect(fail)


@pytest.mark.parametrize("task", [functions.try_again, functions.try_again_below])
def test_a_task_has_retries_of_its_own(task, heard):
    result = task.enqueue(2)
    assert run(result).status == TaskResultStatus.READY
    assert (result.attempts, len(result.errors)) == (1, 1)
    first = result.started_at
    assert first is not None and first == result.last_attempted_at
    assert run(result, 2).return_value == 3
    assert (result.attempts, len(result.errors)) == (3, 2)
    assert result.started_at == first < result.last_attempted_at
    assert [signal for signal, *_ in heard].count(task_finished) == 1


def test_retries_of_a_task_are_used_up():
    result = run(functions.try_again.enqueue(9), 3)
    assert result.status == TaskResultStatus.FAILED
    assert (result.attempts, len(result.errors)) == (3, 3)


def test_a_backend_has_retries_for_all_its_tasks():
    assert run(functions.try_by_options.enqueue(1), 2).return_value == 2


def test_a_task_without_retries_fails_at_once():
    assert run(functions.fail.enqueue()).status == TaskResultStatus.FAILED


def test_an_atomic_task_leaves_nothing_of_a_failure(using):
    result = run(functions.write_then_fail.enqueue())
    assert result.status == TaskResultStatus.FAILED
    left = 0 if using == "default" else 1  # its writes are in the database "default"
    assert Ledger.objects.count() == left


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("tests.gone.task", "ModuleNotFoundError"),
        (f"{PATH}.gone", "ImportError"),
        (f"{PATH}.plain", "SuspiciousOperation"),
        ("os.system", "SuspiciousOperation"),
        ("subprocess.check_output", "SuspiciousOperation"),
        ("nothing", "ImportError"),
    ],
)
def test_a_path_to_no_task_fails_and_calls_nothing(path, error, heard):
    row = FunctionTask.objects.create(task_path=path, args=[f"touch {functions.mark('plain')}"])
    with pytest.raises(DjangoSimpleTask2Error) as failed:
        executor.run(FunctionTask, row._state.db, row.pk)
    assert failed.value.code == 2910009
    row.refresh_from_db()
    assert (row.status, row.success) == (row.DONE, False)
    assert error in row.errors[0]["exception_class_path"]
    assert not functions.mark("plain").exists()
    assert heard == []


def test_a_backend_that_is_gone_keeps_its_rows(settings):
    result = functions.try_by_options.enqueue(0)
    settings.TASKS = {"default": settings.TASKS["default"]}
    executor.run(FunctionTask, row_of(result)._state.db, result.id)
    assert task_backends["default"].get_result(result.id).return_value == 1


def test_a_row_remembers_ten_errors_and_all_attempts(monkeypatch):
    monkeypatch.setitem(functions.try_again.func.simpletask2_options, "max_retries", None)
    result = run(functions.try_again.enqueue(99), 12)
    assert (result.attempts, len(result.errors)) == (12, 10)


def test_a_lease_is_of_the_task(using):
    result = functions.hang.enqueue()
    row = claiming.claim(FunctionTask, using, row_of(result).pk)
    assert row.auto_reset_time - row.start_time == datetime.timedelta(seconds=4)
    other = functions.add.enqueue(1)
    row = claiming.claim(FunctionTask, using, row_of(other).pk)
    assert row.auto_reset_time - row.start_time == datetime.timedelta(seconds=300)
