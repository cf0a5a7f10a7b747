"""What a message costs without a row, a row without a message, and both by drivers."""

import json
import time
from base64 import b64decode, b64encode

from django.conf import settings
from django.db import connection


def messages(count):
    """Send messages that run nothing."""
    from tests.benchmarks.plain.hand import nothing

    for number in range(count):
        nothing.delay(number)
    return count


def rows(first, last):
    """Run rows of ours, which no message names; return the seconds they took."""
    from simpletask2_celery.running import executor
    from tests.benchmarks.simple.models import Task

    began = time.time()
    for pk in range(first, last):
        executor.run(Task, "default", pk)
    return [began, time.time()]


def statements(first, last):
    """Claim and finish rows by the driver alone: two statements, two commits."""
    connection.ensure_connection()
    cursor = connection.connection.cursor()
    began = time.time()
    for pk in range(first, last):
        cursor.execute(
            "UPDATE simple_task SET status = 20, start_time = now(), step1_time = now(), "
            "current_step = 1, auto_reset_time = now(), mod_time = now() "
            "WHERE id = %s AND status = 10 RETURNING *",
            [pk],
        )
        cursor.fetchone()
        cursor.execute(
            "UPDATE simple_task SET status = 30, success = true, done_time = now(), "
            "auto_reset_time = NULL, mod_time = now() WHERE id = %s AND status = 20",
            [pk],
        )
    return [began, time.time()]


def saves(count):
    """Insert rows and push their messages to Redis by the two drivers alone."""
    import redis

    from tests.benchmarks.simple.models import Task

    row = Task.objects.create(name="first")
    broker = redis.from_url(settings.CELERY_BROKER_URL)
    queue = settings.CELERY_TASK_DEFAULT_QUEUE
    text = broker.lpop(queue).decode()  # the newest
    encoded = json.loads(text)["body"]
    start, end = text.split(encoded)
    before, after = b64decode(encoded).decode().split(f'"id": {row.pk}')
    cursor = connection.connection.cursor()
    began = time.perf_counter()
    for number in range(count - 1):
        cursor.execute(
            "INSERT INTO simple_task (name, add_time, mod_time, status) "
            "VALUES (%s, now(), now(), 10) RETURNING id",
            [f"row {number}"],
        )
        body = f'{before}"id": {cursor.fetchone()[0]}{after}'
        broker.lpush(queue, f"{start}{b64encode(body.encode()).decode()}{end}")
    return {"seconds": time.perf_counter() - began, "rows": count - 1}
