"""Many rows at once: ours, and the floor, whose messages cost next to nothing."""

import json
import time
from uuid import uuid4

from celery import current_app

from tests.benchmarks.acts.memory import peak
from tests.benchmarks.simple.models import Task

NAME = "simpletask2_celery.do_task"


def ours(count):
    """bulk_create and publish_many."""
    return timed(count, Task.publish_many)


def floor(count):
    """bulk_create and a message that was built once, with only its ids put in."""
    return timed(count, send_prebuilt)


def timed(count, publish):
    Task.objects.exists()  # connects
    with current_app.producer_or_acquire() as producer:
        producer.connection.default_channel  # noqa: B018  connects, too
    rows = [Task(name=f"row {number}") for number in range(count)]
    began = time.perf_counter()
    Task.objects.bulk_create(rows, batch_size=1000)
    publish(rows)
    seconds = time.perf_counter() - began
    assert purge() == count
    return {"rows": count, "seconds": seconds}


def send_prebuilt(rows):
    queue = current_app.conf.task_default_queue
    kwargs = {"app_label": "simple", "model": "task", "id": 0}
    built = current_app.amqp.as_task_v2("ID", NAME, kwargs=kwargs)
    before, after = json.dumps(built.body).split('"id": 0')
    with current_app.producer_or_acquire() as producer, producer.batch(max_size=1000):
        for row in rows:
            task_id = str(uuid4())
            producer.publish(
                f'{before}"id": {row.pk}{after}',
                exchange="",
                routing_key=queue,
                headers={**built.headers, "id": task_id, "root_id": task_id},
                content_type="application/json",
                content_encoding="utf-8",
                correlation_id=task_id,
            )


def publish_queryset():
    """Publish all rows of the table; say the most memory that this has taken."""
    Task.objects.exists()
    before = peak()
    began = time.perf_counter()
    count = Task.publish_many(Task.objects.all())
    seconds = time.perf_counter() - began
    found = {"rows": count, "seconds": seconds, "before": before, "peak": peak()}
    assert purge() == count
    return found


def purge():
    """Empty the queue; return how many messages it held."""
    return current_app.control.purge()
