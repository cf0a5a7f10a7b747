"""Each step has an event loop of its own: what outlives a loop, and what does not."""

import asyncio

import httpx

from simpletask2_celery.running import executor
from tests.support.project.jobs.models import Job, Steps
from tests.support.rows import DONE

TLS = httpx.create_ssl_context()


def run(row):
    result = executor.run(type(row), row._state.db, row.pk)["data"]
    row.refresh_from_db()
    return result


def test_a_client_made_in_the_handler_works_in_each_step_of_each_row(using, handler, site):
    url = f"http://127.0.0.1:{site.server_port}/"

    async def told(row, payload):
        async with httpx.AsyncClient(verify=TLS) as client:
            answers = await asyncio.gather(client.get(url), client.get(url))
        row.note += "".join(answer.text for answer in answers)

    rows = [Steps.objects.using(using).create(what=handler(told)) for _ in range(2)]
    for row in rows:
        run(row)
        assert (row.status, row.success, row.note) == (DONE, True, "hello" * 8)


def test_a_step_has_a_loop_of_its_own(using, handler):
    loops = []

    async def told(row, payload):
        loops.append(asyncio.get_running_loop())

    run(Steps.objects.using(using).create(what=handler(told)))
    run(Job.objects.using(using).create(what="told"))
    assert len(set(loops)) == 5 and all(loop.is_closed() for loop in loops)


def test_what_a_handler_leaves_behind_ends_with_its_step(using, handler):
    heard, left = [], []

    async def other():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async def told(row, payload):
        left.append(asyncio.create_task(other()))
        await asyncio.sleep(0)

    row = Job.objects.using(using).create(what=handler(told))
    run(row)
    assert row.success and heard == ["cancelled"]
