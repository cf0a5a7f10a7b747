"""What the tests' handlers do. A test adds more to this module while it runs."""

import asyncio
import base64
import os
import sys
import time
from pathlib import Path

from celery import current_app
from celery.exceptions import Ignore, Reject, Retry
from django.db import transaction


def mark(what, row):
    """Return the path of a file by which a handler and a test tell each other something."""
    name = f"{what}-{row._state.db}-{row.get_task_info()}"
    return Path(os.environ["TEST_FOLDER"], name)


def nothing(row, payload):
    return None


def fail(row, payload):
    raise ValueError("as told")


def write_ledger(row, payload):
    from .models import Ledger

    Ledger.objects.using(row._state.db).create(job=row.get_task_info(), process=str(os.getpid()))


def slow(row, payload):
    write_ledger(row, payload)
    time.sleep(0.05)


def die_once(row, payload):
    """Take the worker's child down, the first time."""
    died = mark("died", row)
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), 9)
    write_ledger(row, payload)


def die_at_first(name):
    """Take the worker's child down, the first time that it is called with this name."""
    died = Path(os.environ["TEST_FOLDER"], f"died-{name}")
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), 9)


def held(row, payload):
    """Say that the run is under way, and go on only when told to."""
    mark("running", row).touch()
    end = time.monotonic() + 60
    while not mark("go-on", row).exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def held_and_saves(row, payload):
    held(row, payload)
    row.note = "written by a run that lost its claim"
    row.save()


def proxied(row, payload):
    row.note += "|".join(str(payload.get(k)) for k in ("step", "proxied_status")) + ";"
    if payload["step"] == 1:
        return {"proxy": {"method": "GET", "url": row.url}}


def always_proxied(row, payload):
    """Ask for a request after each step, the last one too."""
    return {"proxy": {"method": "GET", "url": row.url, "auth": ("user", "s3cret")}}


def slow_second(row, payload):
    time.sleep(1)


def proxied_dict(row, payload):
    """As a handler of the original has to: old servers ask each answer for its proxy."""
    brought = (
        payload.get("proxied_content")
        and base64.decodebytes(payload["proxied_content"].encode()).decode()
    )
    row.note += f"{payload['step']}:{brought or payload.get('proxied_error') or ''};"
    if payload["step"] == 1:
        return {"proxy": {"method": "GET", "url": row.url}}
    return {}


def die(row, payload):
    """Take the worker's child down, each time."""
    write_ledger(row, payload)
    os.kill(os.getpid(), 9)


def die_untold(row, payload):
    """End well, and take the worker's child down before anybody is told so."""
    from simpletask2_celery.rows import announcing

    announcing.step_ended = lambda *_: os.kill(os.getpid(), 9)


def take_the_note_of_another(row, payload):
    """Write what a unique index of a test refuses."""
    row.note = "s3cret of another row"


def tell_a_secret(row, payload):
    return "s3cret" * 1000


def die_with_all(row, payload):
    """Take the whole worker down, each time."""
    write_ledger(row, payload)
    os.killpg(os.getpgid(os.getppid()), 9)


def fails_twice(row, payload):
    """Fail in the first two attempts of a durable row."""
    write_ledger(row, payload)
    if row.attempts < 3:
        raise ValueError("not yet")


def slow_at_first(row, payload):
    """Take three seconds in the first attempt of a durable row."""
    write_ledger(row, payload)
    if row.attempts == 1:
        time.sleep(3)


def dies_in_step_two(row, payload):
    """Write the step, and take the worker's child down in the second one, the first time."""
    from .models import Ledger

    step = str(payload["step"])
    Ledger.objects.using(row._state.db).create(job=row.get_task_info(), process=step)
    row.note += step
    died = mark("died", row)
    if step == "2" and not died.exists():
        died.touch()
        os.kill(os.getpid(), 9)


def sleeps(row, payload):
    """Say that the run is under way, and keep the worker's child for a minute."""
    mark("running", row).touch()
    time.sleep(60)


def hold_the_worker(row, payload):
    """Keep the worker's child for as long as a test takes."""
    time.sleep(60)


def three_seconds(row, payload):
    write_ledger(row, payload)
    time.sleep(3)


def three_seconds_in_a_loop(row, payload):
    """Run a loop in a handler that is not async, as libraries do."""
    mark("running", row).touch()
    asyncio.run(asyncio.sleep(3))


def a_task_in_a_transaction(row, payload):
    """Run a task of Celery's own at once, as code under test settings does."""
    with transaction.atomic(using=row._state.db):
        write_ledger(row, payload)
        current_app.tasks["celery.accumulate"].apply()
        write_ledger(row, payload)


def hang(row, payload):
    """Hear no soft time limit."""
    write_ledger(row, payload)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            time.sleep(1)
        except Exception:
            pass


def every(row):
    """Return other values than a row has; a test replaces it."""
    return {}


class Speechless(Exception):
    """An exception that cannot say its text."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Unheard(BaseException):
    """No Exception."""


#: What handlers of other people raise, by name.
ODD = {
    "exits": lambda: sys.exit(1),
    "is cancelled": lambda: _raise(asyncio.CancelledError()),
    "generator exit": lambda: _raise(GeneratorExit()),
    "own base exception": lambda: _raise(Unheard("as told")),
    "speechless": lambda: _raise(Speechless()),
    "stop iteration": lambda: _raise(StopIteration("as told")),
    "of Celery, ignore": lambda: _raise(Ignore()),
    "of Celery, reject": lambda: _raise(Reject("as told", requeue=True)),
    "of Celery, retry": lambda: _raise(Retry("as told")),
}


def _raise(error):
    raise error


def odd(row, payload):
    """Raise what the row's note names; an async handler does where it says so."""
    write_ledger(row, payload)
    name = row.note.removesuffix(" async")
    if not row.note.endswith(" async"):
        ODD[name]()

    async def later():
        await asyncio.sleep(0)
        ODD[name]()

    return later()
