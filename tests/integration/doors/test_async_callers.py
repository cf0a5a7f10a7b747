"""Rows saved, published and steered from async code, as in an async view."""

import asyncio
import datetime
import inspect

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from celery import current_app
from django.db import connections, transaction
from django.utils import timezone

from simpletask2_celery import signals
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.models import SimpleTask
from simpletask2_celery.running import executor
from tests.support.fixtures import message_of, messages, queued
from tests.support.project.jobs.models import ChannelJob, Job
from tests.support.rows import DOING, DONE, READY


async def _of_a_request(call):
    """Await it as an ASGI server does a view: its sync code has a thread of its own."""
    async with ThreadSensitiveContext():
        try:
            return await call()
        finally:
            await sync_to_async(connections.close_all)()


@pytest.fixture(params=["server", "sync code"])
def call(request):
    """Call async code in a loop, of a server or of a caller that is sync."""

    def call(function):
        async def wait():
            return await function()

        if request.param == "server":
            return asyncio.run(_of_a_request(wait))
        return async_to_sync(wait)()

    return call


def state_of(row):
    row.refresh_from_db()
    return row.status, row.success


def test_a_row_is_created_and_published(using, call):
    async def view():
        created = await Job.objects.using(using).acreate(note="new")
        [waiting] = await Job.objects.using(using).abulk_create([Job()])
        waiting = await Job.objects.using(using).exclude(pk=created.pk).aget()
        assert await waiting.apublish() is waiting
        return created, waiting

    rows = call(view)
    assert queued() == [message_of(row) for row in rows]


def test_publish_takes_the_same_arguments(using, call):
    async def view():
        await Job.objects.using(using).abulk_create([Job()])
        row = await Job.objects.using(using).aget()
        name = f"{current_app.conf.task_default_queue}.a"
        return await row.apublish(countdown=40, priority=3, queue=name)

    before = timezone.now()
    row = call(view)
    [(kwargs, message)] = messages("a")
    assert kwargs == message_of(row) and message.properties["priority"] == 3
    eta = datetime.datetime.fromisoformat(message.headers["eta"])
    assert 39 < (eta - before).total_seconds() < 60
    with pytest.raises(ValueError, match="not both"):
        call(lambda: row.apublish(countdown=1, eta=before))
    with pytest.raises(ValueError, match="has no row yet"):
        call(Job().apublish)


def test_many_rows_are_published_from_a_list_and_from_a_queryset(using, call):
    async def view():
        await Job.objects.using(using).abulk_create([Job(), Job(status=DONE), Job()])
        rows = [row async for row in Job.objects.using(using).order_by("pk")]
        of_list = await Job.apublish_many(rows)
        of_queryset = await Job.apublish_many(Job.objects.using(using).order_by("pk"), chunk=2)
        return rows, of_list, of_queryset

    (first, _, last), *counts = call(view)
    assert counts == [2, 2]
    *single, chunk = queued()
    assert single == [message_of(first), message_of(last)]
    assert chunk["ids"] == [first.pk, last.pk]
    with pytest.raises(TypeError, match=r"publish_many\(\) got"):
        call(lambda: Job.apublish_many([ChannelJob()]))


def test_a_row_is_steered(using, call):
    async def view():
        row = await Job.objects.using(using).acreate()
        seen = [await row.adone(), await row.astart(), await row.astart(), row.status]
        row.success = False
        seen += [await row.adone(), row.status, await row.areset() is row, row.status]
        return row, seen + [await row.adone(force=True)]

    row, seen = call(view)
    assert seen == [False, True, False, DOING, True, DONE, True, READY, True]
    assert state_of(row) == (DONE, None)
    call(lambda: row.areset(save=False))
    assert row.status == READY and state_of(row) == (DONE, None)
    Job.objects.using(using).filter(pk=row.pk).delete()
    with pytest.raises(DjangoSimpleTask2Error, match="2910004"):
        call(row.areset)


def test_a_signal_is_sent_as_from_sync_code(using, call):
    heard = []

    def hear(sender, row, **kwargs):
        heard.append((row.pk, kwargs["reason"]))

    row = Job.objects.using(using).create()
    signals.task_reset.connect(hear)
    try:
        call(row.areset)
    finally:
        signals.task_reset.disconnect(hear)
    assert heard == [(row.pk, signals.OPERATOR)]


def test_a_transaction_around_several_rows_is_sync_code(using, call):
    seen = []

    def create():
        with transaction.atomic(using=using):
            rows = [Job.objects.using(using).create() for _ in range(2)]
            seen.append(queued())
        return rows

    rows = call(sync_to_async(create))
    assert seen == [[]] and queued() == [message_of(row) for row in rows]


def test_inside_a_run_other_rows_are_published_and_steered(using, handler):
    async def told(row, payload):
        other = await Job.objects.using(using).acreate(note="of a handler")
        await other.adone(force=True)
        await other.areset()
        await other.apublish()

    row = Job.objects.using(using).create(what=handler(told))
    queued()
    executor.run(Job, using, row.pk)
    other = Job.objects.using(using).get(note="of a handler")
    assert state_of(row) == (DONE, True) and state_of(other) == (READY, None)
    assert queued() == [message_of(other)] * 2


@pytest.mark.parametrize("name", ["publish", "publish_many", "start", "done", "reset"])
def test_a_twin_takes_what_the_sync_call_takes(name):
    sync, twin = (getattr(SimpleTask, prefix + name) for prefix in ("", "a"))
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(sync) == inspect.signature(twin)
