"""A worker's channel of Redis keeps one client, where kombu makes two for each message."""

import os
import threading
from types import SimpleNamespace

import pytest
import redis
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker

from simpletask2_celery import apps, one_client
from tests.fixtures import wait_until

BROKER = os.environ["TEST_BROKER_URL"]
MESSAGES = 20


@pytest.fixture
def bare_workers():
    """Keep the app from giving workers of this process what they begin with."""
    signals.worker_init.disconnect(apps._begin_worker)
    yield
    signals.worker_init.connect(apps._begin_worker)


@pytest.fixture
def clients(monkeypatch):
    """The threads in which clients of Redis were made, one entry each."""
    made = []
    init = redis.Redis.__init__

    def noted(client, *args, **kwargs):
        made.append(threading.get_ident())
        init(client, *args, **kwargs)

    monkeypatch.setattr(redis.Redis, "__init__", noted)
    return made


@pytest.mark.skipif(not BROKER.startswith("redis"), reason="about Redis")
@pytest.mark.parametrize("with_step", [True, False])
@pytest.mark.usefixtures("bare_workers")
def test_messages_are_taken_and_acknowledged_by_one_client(clients, with_step):
    app = Celery("one", broker=BROKER, set_as_current=False)
    queue = f"{os.environ['TEST_RUN']}.one-client.{with_step}"
    app.conf.task_default_queue = queue
    done = []

    @app.task(name=queue, shared=False, acks_late=True, ignore_result=True)
    def note():
        done.append(threading.get_ident())

    if with_step:
        one_client.add_to(app)
    with start_worker(app, pool="solo", perform_ping_check=False):
        for count in range(1, MESSAGES + 2):
            note.delay()
            wait_until(lambda so_far=count: len(done) == so_far)
            if count == 1:
                clients.clear()  # of the start
    in_worker = sum(thread == done[0] for thread in clients)
    if with_step:
        assert in_worker < MESSAGES / 2
    else:  # where kombu does no such thing any more, the step can go
        assert in_worker >= 2 * MESSAGES
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        unacknowledged = channel.client.hvals(channel.unacked_key)
        assert not any(queue.encode() in message for message in unacknowledged)
        channel.queue_delete(queue)


def test_a_channel_without_such_clients_is_left_as_it_is():
    channel = SimpleNamespace()
    parent = SimpleNamespace(task_consumer=SimpleNamespace(channel=channel))
    one_client.OneClient(parent).start(parent)
    assert vars(channel) == {}
