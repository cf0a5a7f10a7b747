"""What the methods and the testing kit return. It runs, too."""

from typing import Any, assert_type

from django.db.models import QuerySet
from django.test import TestCase

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.testing import Published, PublishedMessage, Run, published, run

from .models import Async, Charge, FirstStepWithDefault, Hello, Page


class Rows(TestCase):
    def test_models_stay_what_they_are(self) -> None:
        row = Hello.objects.create(name="Ada")
        assert_type(row, Hello)
        assert_type(Hello(name="Ada"), Hello)
        assert_type(Hello.objects.bulk_create([Hello(name="b")]), list[Hello])
        assert_type(Hello.objects.filter(status=Hello.READY).first(), Hello | None)
        rows: QuerySet[Hello] = Hello.objects.all()
        assert_type(Hello.publish_many(rows, chunk=50), int)
        assert_type(Hello.publish_many([row]), int)

    def test_methods(self) -> None:
        row = Hello.objects.create(name="Ada")
        assert_type(row.publish(), Hello)
        Hello(name="Bob").save(publish=False)
        Hello(name="Bob").save(force_insert=True, publish=True)
        assert_type(row.publish(countdown=1.5, queue="other", priority=3), Hello)
        assert_type(row.push_to_mq(), Hello)
        assert_type(row.reset().publish(countdown=60), Hello)
        assert_type(row.start(), bool)
        assert_type(row.done(force=True), bool)
        assert_type(row.reset().do_task(), dict[str, Any])
        assert_type(row.do_task_main({"step": 1}), int)
        assert_type(row.get_task_info(), str)
        assert_type(Hello.do_auto_reset(), int)

    async def test_async_methods(self) -> None:
        row = Hello(name="Ada")
        await row.asave(publish=False)
        assert_type(await row.apublish(), Hello)

    def test_run(self) -> None:
        done = run(Hello.objects.create(name="Ada"))
        assert_type(done, Run[Hello])
        assert_type(done.row, Hello)
        assert_type(done.error, DjangoSimpleTask2Error | None)
        self.assertEqual((done.row.greeting, done.data), ("Hello, Ada.", 11))
        self.assertEqual(run(Async.objects.create()).data, "default")
        self.assertTrue(run(FirstStepWithDefault.objects.create()).row.success)

    def test_durable(self) -> None:
        row = Charge.objects.create(url="https://example.com/", run_after=None)
        done = run(row)
        assert_type(done, Run[Charge])
        self.assertEqual((done.row.attempts, done.row.completed_step), (3, 2))
        assert_type(done.row.reset(resume=True), Charge)
        assert_type(done.row.is_claimed(), bool)
        assert_type(done.row.cancel(), bool)
        assert_type(done.row.cancel(terminate=True), bool)
        errors = done.row.errors or []  # a column that may be NULL
        self.assertEqual([one["message"] for one in errors], ["cancelled"])
        assert_type(Charge.objects.filter(attempts__gt=1).first(), Charge | None)

    def test_published(self) -> None:
        row = Page.objects.create(url="https://example.com/")
        with published() as sent:
            assert_type(sent, Published)
            done = run(row, proxy={"https://example.com/": "Ada"})
        assert_type(done.requests[0].url, str | None)
        messages = sent.assert_published(Hello.objects.get())
        assert_type(messages, list[PublishedMessage])
        sent.assert_not_published(row)
