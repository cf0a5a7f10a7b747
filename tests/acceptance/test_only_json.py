"""A real worker whose app accepts pickle and YAML, too: our tasks take JSON only."""

import json
import os
from base64 import b64encode

import pytest
from celery import current_app
from kombu import Exchange, Producer, Queue
from kombu.serialization import registry

from simpletask2_celery import exceptions, tasks
from tests.support import ALIASES
from tests.support.fixtures import folder, messages, queued, redis, wait_until
from tests.support.project.jobs.models import Job
from tests.support.rows import done, on_each

PICKLE = "application/x-python-serialize"
TASK = "simpletask2_celery.do_task"


class Exploit:
    """Its pickle makes a file when it is decoded."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.fixture
def careless(worker):
    """A worker that accepts what nobody should, and keeps results in Redis."""
    return worker(
        children=1,
        CHILD_ACCEPT_CONTENT="json pickle yaml",
        CHILD_RESULT_BACKEND=os.environ["TEST_REDIS_URL"],
        CHILD_INTERVAL="60",  # no reset, by a worker that misses one
        C_FORCE_ROOT="1",
    )


def send(kwargs, task_id, serializer="pickle", name=TASK, **headers):
    current_app.send_task(name, kwargs=kwargs, serializer=serializer, task_id=task_id, **headers)


def send_by_the_first_protocol(kwargs):
    body = {"task": TASK, "id": "old", "args": [], "kwargs": kwargs}
    name = current_app.conf.task_default_queue
    with current_app.connection_for_write() as connection:
        exchange = Exchange(name, type="direct")
        Producer(connection.channel(), serializer="pickle").publish(
            body, exchange=exchange, routing_key=name, declare=[Queue(name, exchange, name)]
        )


def send_signed(kwargs):
    """As Celery's ``auth`` serializer has it, whose body is a signature before the rest."""
    current_app.send_task(TASK, kwargs=kwargs, serializer="signed for the tests")


@pytest.fixture
def signed():
    """A serializer of that content type; the real one needs certificates."""
    name = "signed for the tests"
    registry.register(name, lambda data: b64encode(repr(data).encode()), None, "application/data")
    yield
    registry.unregister(name)


def named(row):
    using = row._state.db
    return {"app_label": "jobs", "model": "job", "id": row.pk, "using": using}


def result_of(task_id):
    return json.loads(redis().get(f"celery-task-meta-{task_id}") or "null")


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_what_is_not_json_is_refused_and_its_row_untouched(careless):
    rows = {}
    for alias in ALIASES:
        Job.objects.using(alias).bulk_create([Job() for _ in range(4)])
        rows[alias] = [*Job.objects.using(alias).order_by("pk")]
        *_, by_json = rows[alias]
        send(named(rows[alias][0]), f"pickle-{alias}", "pickle", ignore_result=False)
        send(named(rows[alias][1]), f"yaml-{alias}", "yaml")
        send_by_the_first_protocol(named(rows[alias][2]))
        send(named(by_json), f"json-{alias}", "json", ignore_result=False)
    # RabbitMQ would drop it after the task's own 0.9 s, before the worker is ready.
    send({}, "a-reset", "pickle", name="simpletask2_celery.do_auto_reset", expires=60)
    ends = [f"json-{alias}" for alias in ALIASES]
    wait_until(lambda: all(map(result_of, ends)), what=careless.log)
    refused = 2 * 3 + 1
    text = "message refused: 2910005"
    wait_until(lambda: careless.log.read_text().count(text) == refused, 10, careless.log)
    assert all(result_of(end)["result"]["success"] is True for end in ends)
    for alias in ALIASES:
        before = [vars_of(row) for row in rows[alias][:3]]
        after = Job.objects.using(alias).exclude(pk=rows[alias][3].pk).order_by("pk")
        assert [vars_of(row) for row in after] == before
        answer = result_of(f"pickle-{alias}")
        assert answer["status"] == "SUCCESS"
        assert answer["result"]["success"] is False
        assert answer["result"]["error"]["code"] == exceptions.BAD_TASK_INFO
        assert PICKLE in answer["result"]["error"]["message"]
        assert result_of(f"yaml-{alias}") is None  # nobody wanted it
    for line in careless.log.read_text().splitlines():
        if "message refused" in line:
            assert "ERROR" in line and "is not 'application/json'" in line
    careless.terminate()
    careless.wait(20)
    assert queued() == [], "what is refused is acknowledged"
    redis().delete(*redis().keys("celery-task-meta-*"))


def vars_of(row):
    return {name: value for name, value in vars(row).items() if name != "_state"}


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_a_signed_message_is_refused_too(careless, signed):
    for alias in ALIASES:
        Job.objects.using(alias).bulk_create([Job()])
        send_signed(named(Job.objects.using(alias).get()))
    rows = on_each()
    wait_until(done(*rows), what=careless.log)
    said = "content type 'application/data' is not 'application/json'"
    wait_until(lambda: careless.log.read_text().count(said) == len(ALIASES), 10, careless.log)
    for alias in ALIASES:
        assert Job.objects.using(alias).filter(status=Job.READY).count() == 1


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_a_pickle_is_not_even_decoded(careless):
    mark = folder() / "decoded"
    send({"id": Exploit(mark)}, "exploit")
    rows = on_each()
    wait_until(done(*rows), what=careless.log)
    assert all(row.success for row in rows)
    assert "message refused: 2910005" in careless.log.read_text()
    assert not mark.exists()


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
