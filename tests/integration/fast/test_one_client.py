"""A worker's channel of Redis keeps one client, where kombu makes two for each message."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.fixtures import ROOT, environ

BROKER = os.environ["TEST_BROKER_URL"]
MESSAGES = 20
#: A worker in a thread of a process of its own; says how many clients its messages took.
WORKER = """
import json, sys, threading, time
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker
from simpletask2_celery.fast.clients import OneClient

broker, queue, with_step, messages = sys.argv[1:]
app = Celery("one", broker=broker)
app.conf.task_default_queue = queue
done, made = [], []

@app.task(name="note", acks_late=True, ignore_result=True)
def note():
    done.append(threading.get_ident())

def noted(client, *args, __init__=redis.Redis.__init__, **kwargs):
    made.append(threading.get_ident())
    __init__(client, *args, **kwargs)

redis.Redis.__init__ = noted
if with_step == "True":
    app.steps["consumer"].add(OneClient)
with start_worker(app, pool="solo", perform_ping_check=False, loglevel="error"):
    for count in range(1, int(messages) + 2):
        note.delay()
        end = time.monotonic() + 30
        while len(done) < count and time.monotonic() < end:
            time.sleep(0.01)
        if count == 1:
            made.clear()  # of the start
with app.connection_for_read() as connection:
    channel = connection.default_channel
    kept = channel.client.hvals(channel.unacked_key)
    left = sum(queue.encode() in message for message in kept)
    channel.queue_delete(queue)
found = {"done": len(done), "left": left, "made": sum(one == done[0] for one in made)}
print(json.dumps(found))
"""


@pytest.mark.skipif(not BROKER.startswith("redis"), reason="about Redis")
@pytest.mark.parametrize("with_step", [True, False])
def test_messages_are_taken_and_acknowledged_by_one_client(with_step):
    queue = f"{os.environ['TEST_RUN']}.one-client.{with_step}"
    given = [BROKER, queue, str(with_step), str(MESSAGES)]
    environment = environ()
    del environment["DJANGO_SETTINGS_MODULE"]  # the app would add the step
    done = subprocess.run(
        [sys.executable, "-c", WORKER, *given],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["done"], found["left"]) == (MESSAGES + 1, 0)
    if with_step:
        assert found["made"] < MESSAGES / 2
    else:  # where kombu does no such thing any more, the step can go
        assert found["made"] >= 2 * MESSAGES
