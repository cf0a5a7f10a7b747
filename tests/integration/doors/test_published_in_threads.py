"""``published()`` catches what every thread of a test publishes, and each message once."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import LiveServerTestCase, TestCase, TransactionTestCase, override_settings
from django.urls import path

from simpletask2_celery.testing import published, run
from tests.support.fixtures import ALIASES, queued
from tests.support.project.jobs.models import Job


def in_a_thread(call):
    """Call a function in a thread of its own, which then closes its connections."""

    def calling():
        try:
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(calling).result()


def fail():
    raise ZeroDivisionError


class InATransaction(TestCase):
    """The transaction of the test counts as committed, whoever looks."""

    databases = ALIASES

    async def test_an_async_test(self):
        before = await Job.objects.acreate()
        with published() as sent:
            row = await Job.objects.acreate()
            with self.assertRaisesMessage(AssertionError, row.get_task_info()):
                sent.assert_not_published()
            sent.assert_published(row)
            sent.assert_not_published(before)
            late = await Job.objects.acreate()
        sent.assert_published(late)
        await Job.objects.acreate()
        self.assertEqual([one.ids for one in sent.messages], [(row.pk,), (late.pk,)])
        self.assertEqual(queued(), [])

    async def test_tasks_of_the_loop_that_run_side_by_side(self):
        with published() as sent:
            rows = await asyncio.gather(*(Job.objects.acreate() for _ in range(5)))
        keys = sorted(pk for message in sent.messages for pk in message.ids)
        self.assertEqual(keys, sorted(row.pk for row in rows))

    async def test_a_block_that_is_open_or_rolled_back(self):
        def open_block():
            with transaction.atomic():
                inner = Job.objects.create()
                with self.assertRaisesMessage(AssertionError, "waits for the commit"):
                    async_to_sync(published_now)(inner)
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                Job.objects.create()
                fail()
            return inner

        async def published_now(inner):
            sent.assert_published(inner)  # in the loop's thread

        with published() as sent:
            inner = await sync_to_async(open_block)()
        self.assertEqual([one.ids for one in sent.messages], [(inner.pk,)])

    async def test_a_run(self):
        row = await Job.objects.acreate()
        with published() as sent:
            await sync_to_async(run)(row)
        sent.assert_not_published()
        self.assertTrue(row.success)

    def test_async_code_of_a_sync_test(self):
        async def create():
            return await Job.objects.acreate()

        with published() as sent:
            row = async_to_sync(create)()
        sent.assert_published(row)

    def test_the_capture_of_hooks_in_another_thread_sends_nothing_twice(self):
        with published() as sent, self.captureOnCommitCallbacks(execute=True):
            row = Job.objects.create()
            in_a_thread(lambda: sent.assert_published(row))
        self.assertEqual(len(sent.messages), 1)

    def test_a_connection_that_threads_share(self):
        """As Django's live server and Selenium tests do it."""
        shared = connections["default"]
        shared.inc_thread_sharing()

        def save():
            connections["default"] = shared
            return Job.objects.create()

        try:
            with published() as sent, ThreadPoolExecutor(1) as pool:
                row = pool.submit(save).result()
                sent.assert_published(row)
        finally:
            shared.dec_thread_sharing()
        self.assertEqual(len(sent.messages), 1)


class WithCommits(TransactionTestCase):
    databases = ALIASES

    async def test_an_async_test(self):
        with published() as sent:
            row = await Job.objects.acreate()
            sent.assert_published(row)
        self.assertEqual(len(sent.messages), 1)
        self.assertEqual(queued(), [])
        await Job.objects.acreate()
        self.assertEqual(len(queued()), 1)  # as ever

    async def test_a_transaction_of_another_thread(self):
        saved, go_on = threading.Event(), threading.Event()

        def save():
            with transaction.atomic(using="server"):
                rows = [Job.objects.using("server").create() for _ in range(2)]
                saved.set()
                assert go_on.wait(10)
            with self.assertRaises(ZeroDivisionError), transaction.atomic(using="server"):
                Job.objects.using("server").create()
                fail()
            return rows

        with published() as sent:
            saving = asyncio.get_running_loop().run_in_executor(None, in_a_thread, save)
            await asyncio.to_thread(saved.wait, 10)
            sent.assert_not_published()
            self.assertIn("1 publication waits for the commit", str(sent))
            go_on.set()
            rows = await saving
        self.assertEqual([one.ids for one in sent.messages], [(row.pk,) for row in rows])

    def test_a_thread_that_has_ended_in_a_transaction(self):
        def leave_open():
            transaction.atomic(using="server").__enter__()
            Job.objects.using("server").create()

        with published() as sent:
            in_a_thread(leave_open)
            sent.assert_not_published()
            self.assertNotIn("waits", str(sent))


def view(request):
    return HttpResponse(Job.objects.create().pk)


urlpatterns = [path("create", view)]


@override_settings(ROOT_URLCONF=__name__)
class ALiveServer(LiveServerTestCase):
    databases = ALIASES

    def test_its_thread(self):
        with published() as sent:
            key = int(requests.get(f"{self.live_server_url}/create", timeout=10).text)
            sent.assert_published(Job.objects.get(pk=key))
        self.assertEqual(len(sent.messages), 1)


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_an_async_test_of_pytest(simpletask2_published):
    row = await Job.objects.acreate()
    simpletask2_published.assert_published(row)
    assert len(simpletask2_published.messages) == 1


@pytest.mark.django_db(databases=ALIASES)
@pytest.mark.parametrize("alias", ALIASES)
def test_the_end_of_an_outer_one_adds_nothing_to_an_inner_one(alias):
    with published() as outer:
        row = Job.objects.using(alias).create()
        with published() as inner:
            outer.assert_published(row)
            inner.assert_not_published()
    assert len(outer.messages) == 1
