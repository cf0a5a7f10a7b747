"""Messages that are copied are the messages that Celery makes."""

import functools
import itertools
import json
import uuid
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import pytest
from celery import Celery, Task, current_app, shared_task, signals
from django.db import transaction
from kombu.messaging import Producer

from simpletask2_celery import fast
from simpletask2_celery.conf import conf
from simpletask2_celery.fast import templates
from simpletask2_celery.publishing import producers, to_celery
from simpletask2_celery.publishing.messages import DO_TASK, Kind
from tests.support.fixtures import messages, queue_name, rebuild_router, start_anew, wait_until
from tests.support.project.jobs.models import ChannelJob, Job

KINDS = [
    (Kind("jobs", "job", None, "default"), 7),
    (Kind("jobs", "job", "server", "default"), 'a "quoted" kéy'),
    (Kind("jobs", "job", None, "mail"), [1, 2, 3]),
    (Kind("jobs", "codejob", None, "default", 295.0, 299.0), ["a", "b'c"]),
]


def lent():
    return producers.lent(producers.connected(5))


def sent(send, kind, row):
    """Return the raw body, and all else of the message that is sent."""
    with lent() as producer:
        send(producer, kind, row)
    queue = queue_name(None if kind.channel == "default" else kind.channel)
    with current_app.connection_for_write() as connection:
        channel = connection.default_channel
        message = wait_until(lambda: channel.basic_get(queue, no_ack=True))
        if not hasattr(message, "payload"):
            message = channel.message_to_python(message)
    more = {**message.properties, "headers": dict(message.headers)}
    for name in ("delivery_tag", "application_headers"):
        more.pop(name, None)
    return json.loads(message.body), message.content_type, message.content_encoding, more


def by_celery(producer, kind, row):
    to_celery.send_one(producer, kind, row, {})


@contextmanager
def copying(producer):
    """Lend what sends copies, in a batch as rows are published."""
    copier = fast.copier(producer, DO_TASK, {}, to_celery.send_one)

    def send(kind, row):
        assert copier.send(kind, row)

    with producer.batch(max_size=to_celery.BATCH):
        yield send
    copier.flush()


def copied(producer, kind, row):
    with copying(producer) as send:
        send(kind, row)


@pytest.mark.parametrize(("kind", "row"), KINDS)
def test_a_copy_is_what_celery_makes(kind, row):
    mine, theirs, again = (sent(how, kind, row) for how in (copied, by_celery, copied))
    ids = set()
    for *_, more in (mine, theirs, again):
        task_id = more["headers"].pop("id")
        assert more["headers"].pop("root_id") == more.pop("correlation_id") == task_id
        ids.add(task_id)
    assert mine == theirs == again
    assert len(ids) == 3


def test_a_copy_is_a_child_of_the_task_that_sends_it():
    found = []

    @shared_task(name="tests.parent", bind=True)
    def parent(self):
        found.append(self.request.id)
        for how in (by_celery, copied):
            found.append(sent(how, *KINDS[0])[-1]["headers"])

    parent.apply()
    parent_id, theirs, mine = found
    assert theirs["parent_id"] == mine["parent_id"] == parent_id
    assert theirs["root_id"] == mine["root_id"] == parent_id


@contextmanager
def made_by_celery():
    """Collect the producers of the messages that Celery makes, but for templates."""
    made = []
    original = to_celery.send_one

    def send(producer, *rest):
        if not isinstance(producer, templates._Recorder):
            made.append(producer)
        original(producer, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_celery, "send_one", send)
        yield made


def made_of_two():
    """Return how many messages Celery makes while two rows are published."""
    with made_by_celery() as made:
        Job.objects.create()
        ChannelJob.objects.create(topic="a")
    assert len(messages()) + len(messages("a")) == 2
    return len(made)


@pytest.mark.django_db(transaction=True)
def test_who_listens_or_traces_hears_of_each_message(monkeypatch):
    assert made_of_two() == 0
    heard = []

    def hear(**kwargs):
        heard.append(kwargs["headers"]["id"])

    for signal in (signals.before_task_publish, signals.after_task_publish):
        signal.connect(hear)
        assert made_of_two() == 2
        signal.disconnect(hear)
    assert len(set(heard)) == 4
    apply_async = Task.apply_async

    @functools.wraps(apply_async)
    def traced(self, *args, **kwargs):
        return apply_async(self, *args, headers={"trace": "1"}, **kwargs)

    monkeypatch.setattr(Task, "apply_async", traced)
    assert made_of_two() == 2
    monkeypatch.undo()
    send_task = Celery.send_task
    monkeypatch.setattr(Celery, "send_task", lambda *args, **more: send_task(*args, **more))
    assert made_of_two() == 2
    monkeypatch.undo()
    assert made_of_two() == 0


@contextmanager
def lpushes():
    """Yield a function that counts the LPUSHes since it was called the last time.

    Of this process, by its number of Redis: other processes of the tests push as well.
    """
    with current_app.connection_for_write() as connection:
        client = connection.default_channel.client
        number = client.connection_pool.connection_kwargs["db"]
        with client.monitor() as monitor:

            def count():
                mark = uuid.uuid4().hex
                client.echo(mark)
                seen = iter(monitor.next_command, None)
                before = itertools.takewhile(lambda one: mark not in one["command"], seen)
                commands = [one["command"] for one in before if one["db"] == number]
                return sum(command.startswith("LPUSH ") for command in commands)

            yield count


def is_redis():
    return current_app.conf.broker_url.startswith("redis")


def test_many_messages_are_one_push(monkeypatch):
    if not is_redis():
        pytest.skip("a push is of Redis")
    monkeypatch.setattr("simpletask2_celery.fast.templates.BATCH", 100)
    with lpushes() as count:
        with (
            lent() as producer,
            copying(producer) as send,
        ):
            for number in range(250):
                send(KINDS[0][0], number)
            assert count() == 2
        assert count() == 1  # the rest is sent at the end
    assert [kwargs["id"] for kwargs, _ in messages()] == list(range(250))


@pytest.mark.django_db(transaction=True)
def test_a_save_is_one_push_and_so_is_a_transaction_or_a_page():
    if not is_redis():
        pytest.skip("a push is of Redis")
    Job.objects.create()  # makes the template
    with lpushes() as count:
        Job.objects.create()
        assert count() == 1
        with transaction.atomic():
            rows = [Job.objects.create() for _ in range(10)]
            assert count() == 0
        assert count() == (1 if conf.shortcuts else 10)
        Job.publish_many(rows)
        assert count() == (1 if conf.shortcuts else 10)
    assert len(messages()) == 22


def test_nothing_is_left_of_a_block_that_fails():
    with (
        pytest.raises(ZeroDivisionError),
        lent() as producer,
    ):
        with copying(producer) as send:
            send(KINDS[0][0], 1)
            raise ZeroDivisionError
    if is_redis():  # others send at once
        assert messages() == []


def test_who_traces_the_producer_sees_each_message(monkeypatch):
    publish, seen = Producer.publish, []

    def traced(self, body, **properties):
        seen.append(properties["headers"]["id"])
        properties["headers"]["trace"] = "1"
        return publish(self, body, **properties)

    monkeypatch.setattr(Producer, "publish", traced)
    with (
        lent() as producer,
        copying(producer) as send,
    ):
        for number in range(3):
            send(KINDS[0][0], number)
    found = [message.headers for _, message in messages()]
    assert [headers["id"] for headers in found] == seen and len(set(seen)) == 3
    assert {headers["trace"] for headers in found} == {"1"}
    monkeypatch.undo()
    if is_redis():  # whoever traced has gone, and so have the single messages
        test_many_messages_are_one_push(monkeypatch)


def test_a_queue_that_expires_is_pushed_to_by_kombu(monkeypatch):
    if not is_redis():
        pytest.skip("a push is of Redis")
    monkeypatch.setattr(current_app.amqp.queues[queue_name(None)], "expires", 60)
    monkeypatch.setattr(producers, "_idle", WeakKeyDictionary())  # which have declared it
    start_anew()
    try:
        with (
            lent() as producer,
            copying(producer) as send,
        ):
            send(KINDS[0][0], 1)
        [template] = templates._templates[current_app.amqp.router].values()
        assert template.list_key is None and len(messages()) == 1
    finally:
        monkeypatch.undo()
        start_anew()


@pytest.mark.django_db(transaction=True)
def test_a_function_that_routes_is_asked_for_each_message():
    routes = current_app.conf.task_routes
    asked = []

    def by_row(name, args, kwargs, options, task=None, **more):
        asked.append(kwargs["id"])
        return {"queue": queue_name("a")}

    current_app.conf.task_routes = [by_row]
    rebuild_router()
    try:
        rows = [Job.objects.create() for _ in range(3)]
        assert {row.pk for row in rows} == set(asked)
        assert len(messages("a")) == 3
    finally:
        current_app.conf.task_routes = routes
        rebuild_router()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("task", "expires", 3600),
        ("task", "serializer", "yaml"),
        ("app", "task_protocol", 1),
    ],
)
def test_what_cannot_be_copied_is_made_by_celery(where, name, value):
    task = current_app.tasks[DO_TASK]
    thing = current_app.conf if where == "app" else task
    before = getattr(thing, name)
    setattr(thing, name, value)
    start_anew()
    try:
        with made_by_celery() as made:
            rows = [Job.objects.create() for _ in range(2)]
        assert len(made) == 2
        assert current_app.amqp.router in templates._templates
    finally:
        setattr(thing, name, before)
        start_anew()
        with current_app.connection_for_write() as connection:
            channel = connection.default_channel
            found = wait_until(lambda: channel.queue_purge(queue_name(None)))
    assert found == len(rows)
