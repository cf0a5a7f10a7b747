"""Function tasks of the tests."""

import os
import time
from pathlib import Path

from django.db import transaction

from simpletask2_celery.django_tasks import durable

try:
    from django import tasks
except ImportError:  # before Django 6.0
    import django_tasks as tasks

task = tasks.task


def mark(name):
    """Return the path of a file by which a function and a test tell each other something."""
    return Path(os.environ["TEST_FOLDER"], f"function-{name}")


@task
def add(a, b=1):
    return a + b


@task
async def add_later(a, b=1):
    return a + b


@task(takes_context=True)
def tell(context, first, more=None):
    """Return what the context says."""
    result = context.task_result
    return [result.id, context.attempt, result.status, result.worker_ids, result.args, more]


@task
def give(what):
    """Return what JSON cannot hold, or only by another name."""
    values = {
        "set": {1},
        "nan": float("nan"),
        "nul": "\0",
        "object": object(),
        "tuple": (1, (2, 3)),
        "bytes": b"ab",
        "bad bytes": b"\xff",
        "proxy": {"proxy": {"url": "http://127.0.0.1:1/"}},
    }
    return values[what]


@task
def fail(text="as told"):
    raise ValueError(text)


@task
async def fail_later():
    raise ValueError("as told")


@task
def exit_process():
    raise SystemExit(1)


@durable(autoretry_for=(ValueError,), default_retry_delay=0, max_retries=2)
@task
def try_again(times):
    """Fail so many times, by the lines of a file, and return how often it was called."""
    return count("again", times)


@task
@durable(autoretry_for=("builtins.ValueError",), default_retry_delay=0, max_retries=2)
def try_again_below(times):
    return count("below", times)


@task(backend="tried")
def try_by_options(times):
    return count("options", times, KeyError)


@task
@durable(do_task_timeout=4)
def hang():
    mark("hangs").touch()
    time.sleep(30)


@task
@durable(atomic_steps=True)
def write_then_fail():
    from .models import Ledger

    Ledger.objects.create(job="atomic", process="")
    raise ValueError("after the write")


@task(takes_context=True)
def die_once(context):
    """Take the worker's child down, the first time."""
    died = mark(f"died-{context.task_result.id}")
    if not died.exists():
        died.write_text(str(time.time()))
        os.kill(os.getpid(), 9)
    return [context.attempt, time.time()]


@task(queue_name="mail")
def in_mail():
    return "mailed"


@task
def enqueue_another(rolled_back=False):
    """Enqueue a task in a transaction."""
    try:
        with transaction.atomic():
            result = add.enqueue(20, b=22)
            if rolled_back:
                raise LookupError
    except LookupError:
        pass
    return result.id


def count(name, times, error=ValueError):
    path = mark(name)
    with path.open("a") as file:
        file.write("called\n")
    calls = path.read_text().count("called")
    if calls <= times:
        raise error(f"call {calls}")
    return calls


def plain():
    """A function that is no Task."""
    mark("plain").touch()


another_name = task(plain)
