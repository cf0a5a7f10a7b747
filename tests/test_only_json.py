"""A real worker whose app accepts pickle and YAML, too: our tasks take JSON only."""

import json

import pytest
from celery import current_app
from kombu import Exchange, Producer, Queue

from simpletask2_celery import exceptions, only_json, prebuilt, tasks
from tests.fixtures import folder, messages, queued, redis, wait_until
from tests.project.jobs.models import Job

PICKLE = "application/x-python-serialize"
TASK = "simpletask2_celery.do_task"


class Exploit:
    """Its pickle makes a file when it is decoded."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.fixture
def worker(celery):
    """A worker that accepts what nobody should, and keeps results in Redis."""
    import os

    return celery(
        "worker",
        "-c",
        "1",
        "-Q",
        current_app.conf.task_default_queue,
        "-l",
        "INFO",
        CHILD_ACCEPT_CONTENT="json pickle yaml",
        CHILD_RESULT_BACKEND=os.environ["TEST_REDIS_URL"],
        C_FORCE_ROOT="1",
    )


@pytest.fixture
def configure():
    """Set a value of the app's configuration for one test."""
    before = {}

    def set_to(name, value):
        before.setdefault(name, getattr(current_app.conf, name))
        setattr(current_app.conf, name, value)

    yield set_to
    for name, value in before.items():
        setattr(current_app.conf, name, value)


def send(kwargs, task_id, serializer="pickle", name=TASK, **headers):
    current_app.send_task(
        name, kwargs=kwargs, serializer=serializer, task_id=task_id, **headers
    )


def named(row, using):
    return {"app_label": "jobs", "model": "job", "id": row.pk, "using": using}


def test_what_is_not_json_is_refused_and_its_row_untouched(using, worker):
    objects = Job.objects.using(using)
    objects.bulk_create([Job(), Job(), Job()])
    by_pickle, by_yaml, by_json = objects.order_by("pk")
    before = list(objects.filter(pk__in=(by_pickle.pk, by_yaml.pk)).values())
    send(named(by_pickle, using), "by-pickle", "pickle", ignore_result=False)
    send(named(by_yaml, using), "by-yaml", "yaml")
    # RabbitMQ would drop it after the task's own 0.9 s, before the worker is ready.
    send({}, "a-reset", "pickle", name="simpletask2_celery.do_auto_reset", expires=60)
    send(named(by_json, using), "by-json", "json", ignore_result=False)
    key = "celery-task-meta-by-json"
    wait_until(lambda: redis().get(key), what=worker.log)
    assert json.loads(redis().get(key))["result"]["success"] is True
    assert list(objects.filter(pk__in=(by_pickle.pk, by_yaml.pk)).values()) == before
    log = worker.log.read_text()
    assert log.count("message refused: 2910005") == 3
    for line in log.splitlines():
        if "message refused" in line:
            assert "ERROR" in line and "is not 'application/json'" in line
    answer = json.loads(redis().get("celery-task-meta-by-pickle"))
    assert answer["status"] == "SUCCESS"
    assert answer["result"]["success"] is False
    assert answer["result"]["error"]["code"] == exceptions.BAD_TASK_INFO
    assert PICKLE in answer["result"]["error"]["message"]
    assert redis().get("celery-task-meta-by-yaml") is None  # nobody wanted it
    worker.terminate()
    worker.wait(20)
    assert queued() == [], "what is refused is acknowledged"
    redis().delete(key, "celery-task-meta-by-pickle")


def test_a_pickle_is_not_even_decoded(using, worker):
    mark = folder() / "decoded"
    send({"id": Exploit(mark)}, "exploit")
    row = Job.objects.using(using).create()
    wait_until(lambda: Job.objects.using(using).filter(status=30).exists())
    row.refresh_from_db()
    assert row.success
    assert "message refused: 2910005" in worker.log.read_text()
    assert not mark.exists()


def test_a_message_of_the_first_protocol_is_refused_too(using, worker):
    Job.objects.using(using).bulk_create([Job()])
    refused = Job.objects.using(using).get()
    body = {"task": TASK, "id": "old", "args": [], "kwargs": named(refused, using)}
    name = current_app.conf.task_default_queue
    with current_app.connection_for_write() as connection:
        exchange = Exchange(name, type="direct")
        Producer(connection.channel(), serializer="pickle").publish(
            body, exchange=exchange, routing_key=name, declare=[Queue(name, exchange, name)]
        )
    row = Job.objects.using(using).create()
    done = Job.objects.using(using).filter(pk=row.pk, status=30)
    wait_until(done.exists, what=worker.log)
    refused.refresh_from_db()
    assert refused.status == 10
    assert "message refused: 2910005" in worker.log.read_text()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("serializer", ["pickle", "yaml"])
def test_our_own_messages_are_json_whatever_the_app_sends(configure, serializer):
    configure("task_serializer", serializer)
    Job.objects.create()
    tasks.do_auto_reset.apply_async()
    tasks.do_task.apply_async(kwargs={"id": 1})
    assert {message.content_type for _, message in messages()} == {"application/json"}


@pytest.mark.django_db(transaction=True)
def test_a_direct_call_and_an_eager_app_have_no_message(configure):
    row = Job.objects.create()
    queued()
    kwargs = {"app_label": "jobs", "model": "job", "id": row.pk}
    assert tasks.do_task(**kwargs)["success"] is True
    configure("task_always_eager", True)
    row = Job.objects.create()
    row.refresh_from_db()
    assert (row.status, row.success) == (30, True)
    answer = tasks.do_task.apply_async(kwargs=kwargs, serializer="pickle").get()
    assert answer["error"]["code"] == exceptions.ALREADY_DONE


def test_both_tasks_have_the_strategy():
    for name in (prebuilt.DO_TASK, "simpletask2_celery.do_auto_reset"):
        assert current_app.tasks[name].Strategy == only_json.NAME
