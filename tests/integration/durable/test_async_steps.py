"""An async handler in an atomic step: what it awaits of the ORM is in the step's transaction."""

import asyncio

import pytest
from asgiref.sync import sync_to_async
from celery.exceptions import Retry
from django.db import connections

from simpletask2_celery.running import executor
from tests.support.project.jobs.models import AtomicSteps, DurableJob


def make(using):
    return AtomicSteps.objects.using(using).create(what="told")


def test_what_an_async_handler_awaits_of_the_orm_commits_with_its_step_or_not_at_all(
    using, handler
):
    async def told(row, payload):
        name = f"{row.attempts}.{payload['step']}"
        await DurableJob.objects.using(using).acreate(note=name)
        other = DurableJob(note=f"{name} saved")
        await other.asave(using=using)
        row.note += str(payload["step"])
        await row.asave()
        if payload["step"] == 2 and row.attempts == 1:
            raise ValueError("not yet")

    handler(told)
    row = make(using)
    with pytest.raises(Retry):
        executor.run(AtomicSteps, using, row.pk)
    executor.run(AtomicSteps, using, row.pk)
    notes = DurableJob.objects.using(using).order_by("pk").values_list("note", flat=True)
    assert [*notes] == ["1.1", "1.1 saved", "2.2", "2.2 saved", "2.3", "2.3 saved"]
    row.refresh_from_db()
    assert (row.note, row.success) == ("123", True)


def test_threads_and_loops_of_its_own_are_outside_of_the_transaction(using, handler):
    seen = {}

    def is_inside():
        return connections[using].in_atomic_block

    async def in_a_loop():
        return await sync_to_async(is_inside)()

    async def told(row, payload):
        seen["awaited"] = await sync_to_async(is_inside)()
        seen["gathered"], _ = await asyncio.gather(in_a_loop(), in_a_loop())
        seen["task"] = await asyncio.create_task(in_a_loop())
        seen["insensitive"] = await sync_to_async(is_inside, thread_sensitive=False)()
        seen["thread"] = await asyncio.to_thread(is_inside)
        seen["loop"] = await asyncio.to_thread(asyncio.run, in_a_loop())

    handler(told)
    executor.run(AtomicSteps, using, make(using).pk)
    assert seen == {
        **dict.fromkeys(("awaited", "gathered", "task"), True),
        **dict.fromkeys(("insensitive", "thread", "loop"), False),
    }
