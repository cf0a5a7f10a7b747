"""Saving rows as each side's users do, and waiting for them to be DONE."""

import json
import os
import random
import time
from base64 import b64decode, b64encode
from uuid import uuid4

SIDE = os.environ["BENCH_SIDE"]
DONE = 30
PATIENCE = 30  # seconds that a row may take


def model():
    if SIDE in ("ours", "original"):
        from tests.benchmarks.simple import models

        found = getattr(models, os.environ.get("BENCH_MODEL", "Task"))
    elif SIDE == "hand":
        from tests.benchmarks.plain.models import Twin as found
    else:
        from tests.benchmarks.plain.models import Row as found
    return found


def saver():
    """Return a function that saves a row and has it run, as this side's users do."""
    if SIDE in ("ours", "original"):  # whose save() publishes
        return model().save
    from django.db import transaction

    if SIDE == "hand":
        from tests.benchmarks.plain import hand

        if os.environ.get("BENCH_TASK") == "least_of_a_job":
            return least_saver(hand.least_of_a_job)
        task = getattr(hand, os.environ.get("BENCH_TASK", "greet"))

        def save(row):
            row.save()
            transaction.on_commit(lambda: task.delay(row.pk))

        return save
    send, push = deferrer(), None
    if os.environ.get("BENCH_TASK") == "pushed":  # and a message that names it
        from tests.benchmarks.plain import hand

        push = pusher(hand.nothing)

    def save(row):
        with transaction.atomic():  # row and job in one commit: what such a library is for
            row.save()
            send(row.pk)
            if push:
                transaction.on_commit(lambda: push(row.pk))

    return save


def least_saver(task):
    """Return a function that saves two rows in one commit, and pushes by redis alone."""
    from django.db import transaction

    from tests.benchmarks.plain.models import Row

    push = pusher(task)

    def save(twin):
        with transaction.atomic():
            row = Row.objects.create(name=twin.name)
            twin.pk = row.pk
            twin.save(force_insert=True)
            transaction.on_commit(lambda: push(row.pk))

    return save


def pusher(task):
    """Return a function that pushes a message of Celery's for a key, by redis alone."""
    import redis
    from django.conf import settings

    broker, queue = redis.from_url(settings.CELERY_BROKER_URL), settings.CELERY_TASK_DEFAULT_QUEUE
    task.apply_async((-1,), queue=f"{queue}.model")  # which no worker serves
    message = json.loads(broker.lpop(f"{queue}.model"))
    body, properties = b64decode(message["body"]).decode(), message["properties"]

    def push(pk):
        message["body"] = b64encode(body.replace("-1", str(pk)).encode()).decode()
        properties["delivery_tag"] = str(uuid4())  # by which its worker acknowledges it
        broker.lpush(queue, json.dumps(message))

    return push


def deferrer():
    if SIDE == "procrastinate":
        from tests.benchmarks.plain.procrastinate_job import greet

        return lambda pk: greet.defer(pk=pk)
    from tests.benchmarks.plain.django_tasks_job import greet

    return greet.enqueue


def saves(count):
    """Save rows one by one; return the seconds they took."""
    save, Row = saver(), model()
    save(Row(name="first"))  # connects
    began = time.perf_counter()
    for number in range(count - 1):
        save(Row(name=f"row {number}"))
    return {"seconds": time.perf_counter() - began, "rows": count - 1}


def chunks(count):
    """Save and publish rows in bulk, 50 a message."""
    Row = model()
    Row.objects.exists()
    rows = [Row(name=f"row {number}") for number in range(count)]
    began = time.perf_counter()
    Row.objects.bulk_create(rows, batch_size=1000)
    try:
        Row.publish_many(rows, chunk=50)
    except TypeError as error:
        return {"missing": str(error)}
    return {"seconds": time.perf_counter() - began, "rows": count}


def latencies(count, seconds, pause):
    """Save rows one at a time, each when the one before is DONE; return their ms.

    ``pause`` is how many ms may pass before each, at random: in step with no polling.
    """
    save, Row = saver(), model()
    end = time.monotonic() + seconds
    found = []
    while len(found) < count + 3 and (time.monotonic() < end or len(found) < 8):
        time.sleep(random.uniform(10, pause) / 1000)
        row = Row(name="one")
        began = time.time()
        save(row)
        found.append((done_time(Row, row.pk).timestamp() - began) * 1000)
    return found[3:]  # the first ones connect


def done_time(Row, pk):
    end = time.monotonic() + PATIENCE
    rows = Row.objects.filter(pk=pk, status=DONE).values_list("done_time", flat=True)
    while True:
        time.sleep(0.02)  # seldom: the row says when it was DONE, and looking takes CPU
        if found := rows.first():
            return found
        assert time.monotonic() < end, f"row {pk} is not DONE in {PATIENCE} s"
