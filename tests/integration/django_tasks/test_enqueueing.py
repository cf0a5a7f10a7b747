"""``enqueue()`` and ``get_result()``: what Django's documentation promises of a backend."""

import datetime
import uuid

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from simpletask2_celery.django_tasks.api import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
)
from simpletask2_celery.django_tasks.models import FunctionTask
from tests.support.fixtures import messages, queued
from tests.support.project.jobs import functions

HOUR = datetime.timedelta(hours=1)


def rows():
    return FunctionTask.objects.all()


def test_all_abilities_are_there():
    backend = task_backends["default"]
    abilities = ("defer", "async_task", "get_result", "priority")
    assert all(getattr(backend, f"supports_{name}") for name in abilities)


def test_a_task_is_a_row_and_its_message(using):
    before = timezone.now()
    result = functions.add.enqueue(1, b=2)
    row = rows().get()
    assert (result.id, row._state.db) == (str(row.pk), using)
    assert uuid.UUID(result.id).version == 4
    assert (result.status, result.is_finished) == (TaskResultStatus.READY, False)
    assert (result.args, result.kwargs, result.backend) == ([1], {"b": 2}, "default")
    assert before <= result.enqueued_at <= timezone.now()
    assert result.started_at is result.finished_at is result.last_attempted_at is None
    assert (result.errors, result.worker_ids, result.attempts) == ([], [], 0)
    assert result.task == functions.add
    with pytest.raises(ValueError, match="has not finished"):
        _ = result.return_value
    [message] = queued()
    assert message["id"] == result.id and message["model"] == "functiontask"


def test_a_result_is_found_by_its_id():
    result = functions.add.enqueue(1)
    assert functions.add.get_result(result.id) == result
    assert async_to_sync(functions.add.aget_result)(result.id) == result
    assert task_backends["default"].get_result(result.id) == result


@pytest.mark.parametrize(
    "missing", ["f6e01b7a-3a4a-4f6e-9a55-2f5d3d0f7c11", "123", "", "\0", "x" * 5000]
)
def test_an_unknown_id_has_no_result(missing):
    with pytest.raises(TaskResultDoesNotExist):
        functions.add.get_result(missing)
    with pytest.raises(TaskResultDoesNotExist):
        async_to_sync(functions.add.aget_result)(missing)


def test_a_result_of_another_task_is_a_mismatch():
    result = functions.add.enqueue(1)
    with pytest.raises(Exception, match="Task does not match"):
        functions.fail.get_result(result.id)


def test_a_task_can_be_enqueued_from_async_code():
    async def enqueue():
        result = await functions.add_later.aenqueue(2)
        await result.arefresh()
        return result

    result = async_to_sync(enqueue)()
    assert result.task == functions.add_later
    assert len(queued()) == 1


def test_a_transaction_has_the_row_and_its_commit_the_message(using):
    with transaction.atomic(using):
        result = functions.add.enqueue(1)
        assert functions.add.get_result(result.id) == result
        assert queued() == []
    assert [one["id"] for one in queued()] == [result.id]


def test_a_rollback_takes_back_the_row_and_sends_nothing(using):
    with pytest.raises(LookupError), transaction.atomic(using):
        functions.add.enqueue(1)
        raise LookupError
    assert rows().count() == 0 and queued() == []


def test_a_queue_is_a_channel():
    result = functions.in_mail.enqueue()
    assert result.task.queue_name == "mail"
    assert rows().get().get_channel_name() == "mail"
    assert queued() == [] and len(queued("mail")) == 1
    functions.add.using(queue_name="mail").enqueue(1)
    assert len(queued("mail")) == 1


def test_a_queue_that_the_backend_has_not_is_refused():
    with pytest.raises(InvalidTask, match="is not valid for backend"):
        functions.add.using(queue_name="unknown")


def test_a_task_is_checked_again_when_it_is_enqueued(settings):
    task = functions.add.using(queue_name="mail")
    one = {"BACKEND": "simpletask2_celery.django_tasks.CeleryBackend"}
    settings.TASKS = {"default": one}
    with pytest.raises(InvalidTask, match="is not valid for backend"):
        task.enqueue(1)
    with pytest.raises(InvalidTask, match="is not valid for backend"):
        async_to_sync(task.aenqueue)(1)


def test_a_task_in_the_future_waits(using):
    at = timezone.now() + HOUR
    result = functions.add.using(run_after=at).enqueue(1)
    row = rows().get()
    assert result.task.run_after == row.run_after == at
    assert queued() == []  # auto-reset publishes it
    soon = timezone.now() + datetime.timedelta(minutes=1)
    functions.add.using(run_after=soon).enqueue(1)
    [(_, message)] = messages()
    assert datetime.datetime.fromisoformat(message.headers["eta"]) == soon


def test_a_naive_time_is_refused():
    with pytest.raises(InvalidTask, match="aware"):
        functions.add.using(run_after=datetime.datetime(2030, 1, 1))


@pytest.mark.parametrize("priority", [-101, 101, 1.5])
def test_a_priority_out_of_range_is_refused(priority):
    with pytest.raises(InvalidTask, match="priority"):
        functions.add.using(priority=priority)


def test_a_more_urgent_task_comes_first():
    given = [0, -100, 100, -1, 1, 0]
    for priority in given:
        functions.add.using(priority=priority).enqueue(priority)
    priorities = {str(row.pk): row.priority for row in rows()}
    order = [priorities[one["id"]] for one in queued()]
    if functions_are_ordered():
        signs = [(one > 0) - (one < 0) for one in order]
        assert signs == [1, 1, 0, 0, -1, -1]
    assert sorted(order) == sorted(given)


def functions_are_ordered():
    """Tell whether the broker has priorities without a queue that is declared for them."""
    from tests.support.fixtures import broker

    with broker() as connection:
        return connection.transport.driver_type == "redis"


def test_the_message_is_called_as_the_function():
    functions.add.enqueue(1)
    functions.add.using(priority=7).enqueue(1)
    functions.fail.enqueue()
    paths = [message.headers["shadow"] for _, message in messages()]
    module = functions.__name__
    assert sorted(paths) == [f"{module}.add", f"{module}.add", f"{module}.fail"]


@pytest.mark.parametrize("value", [float("nan"), "\0", "\ud800", {1}, object(), b"\xff"])
def test_arguments_that_no_json_holds_are_refused(value):
    for args, kwargs in [((value,), {}), ((), {"a": value})]:
        with pytest.raises((TypeError, ValueError)):
            functions.add.enqueue(*args, **kwargs)
    assert rows().count() == 0


def test_arguments_are_as_json_has_them():
    result = functions.add.enqueue((1, 2), b={"x": b"ab"})
    assert (result.args, result.kwargs) == ([[1, 2]], {"b": {"x": "ab"}})
    assert functions.add.get_result(result.id) == result


def test_a_task_that_no_worker_would_find_is_refused():
    with pytest.raises(InvalidTask, match="No worker would find"):
        functions.another_name.enqueue()
    assert rows().count() == 0


def test_the_signal_comes_with_the_result():
    heard = []

    def hear(sender, task_result, **kwargs):
        heard.append((sender.__name__, task_result))

    task_enqueued.connect(hear)
    try:
        results = [functions.add.enqueue(1), async_to_sync(functions.add.aenqueue)(1)]
    finally:
        task_enqueued.disconnect(hear)
    assert heard == [("CeleryBackend", result) for result in results]


def test_to_enqueue_is_one_query(using, django_assert_num_queries):
    from django.db import connections

    with django_assert_num_queries(1, connection=connections[using]):
        result = functions.add.enqueue(1)
    with django_assert_num_queries(1, connection=connections[using]):
        result.refresh()
