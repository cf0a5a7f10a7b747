"""Sentences of the pages about rows, and about tests, that no other test holds."""

import datetime
import threading

import pytest
from django.core.cache import caches
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from simpletask2_celery import tasks
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.running import executor
from simpletask2_celery.testing import published, run
from tests.support.fixtures import ALIASES, queued
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import ChildJob, Job, Ledger
from tests.support.rows import DOING, DONE, READY, at

# -- models.md -----------------------------------------------------------------------


def test_a_row_that_is_created_doing_is_found_by_the_auto_reset(using):
    row = Job.objects.using(using).create(status=DOING)
    assert queued() == []
    wait = row.auto_reset_time - timezone.now()
    assert abs(wait.total_seconds() - Job.task_wait_timeout) < 5
    at(using, row, -1)
    assert tasks.do_auto_reset()["jobs.job"] == 1
    assert [one["id"] for one in queued()] == [row.pk]


def test_update_publishes_nothing_and_the_auto_reset_finds_the_row(using):
    objects = Job.objects.using(using)
    done, doing = objects.create(), objects.create()
    run(done)
    doing.start()
    queued()
    objects.update(status=READY)
    assert queued() == []
    assert tasks.do_auto_reset()["jobs.job"] == 1  # the one whose time is empty
    assert [one["id"] for one in queued()] == [done.pk]
    at(using, doing, -1)
    assert tasks.do_auto_reset()["jobs.job"] == 1
    assert [one["id"] for one in queued()] == [doing.pk]


def test_rows_of_publish_many_get_a_second_message_that_does_no_harm(using):
    objects = Job.objects.using(using)
    objects.bulk_create([Job()])
    Job.publish_many(objects.all())
    tasks.do_auto_reset()
    first, second = queued()
    assert first == second
    assert tasks.do_task(**first)["success"]
    assert tasks.do_task(**second)["error"]["code"] == 2910015


def test_a_childs_row_runs_the_handlers_of_what_it_was_published_as(using, monkeypatch):
    ran = []
    monkeypatch.setattr(handlers, "nothing", lambda row, payload: ran.append(type(row)))
    child = ChildJob.objects.using(using).create()
    queued()
    for loaded in (child, Job.objects.using(using).get(pk=child.pk)):
        loaded.publish()
        [message] = queued()
        assert tasks.do_task(**message)["success"]
        Job.objects.using(using).get(pk=child.pk).reset()
    assert ran == [ChildJob, Job]


def test_success_is_empty_where_nobody_has_said_it(using):
    row = Job.objects.using(using).create()
    assert row.success is None
    assert row.done(force=True)
    row.refresh_from_db()
    assert (row.status, row.success) == (DONE, None)


# -- reliability.md ------------------------------------------------------------------


@pytest.mark.parametrize("act", ["update", "delete"])
def test_a_query_of_a_handler_passes_no_fence(using, handler, act):
    mine = Job.objects.using(using).filter

    def told(row, payload):
        mine(pk=row.pk).get().reset()
        if act == "update":
            mine(pk=row.pk).update(note="late")
        else:
            mine(pk=row.pk).delete()

    row = Job.objects.using(using).create(what=handler(told))
    with pytest.raises(DjangoSimpleTask2Error, match="2910010"):
        executor.run(Job, using, row.pk)
    left = mine(pk=row.pk).values_list("status", "note")
    assert list(left) == ([(READY, "late")] if act == "update" else [])


# -- performance.md ------------------------------------------------------------------


def test_timeouts_at_run_time_need_a_cache_of_django_redis(using, settings):
    in_memory = "django.core.cache.backends.locmem.LocMemCache"
    settings.CACHES = {"default": {"BACKEND": in_memory}}
    caches["default"].set("django-simpletask2:task-wait-timeout:default", 7)
    wait = Job.objects.using(using).create().auto_reset_time - timezone.now()
    assert wait.total_seconds() == pytest.approx(Job.task_wait_timeout, abs=5)


# -- security.md ---------------------------------------------------------------------


def test_a_message_that_finds_nothing_to_claim_costs_two_queries(using, django_assert_num_queries):
    row = Job.objects.using(using).create()
    [message] = queued()
    assert tasks.do_task(**message)["success"]
    with django_assert_num_queries(2, connection=connections[using]):
        assert tasks.do_task(**message)["error"]["code"] == 2910015
    row.refresh_from_db()
    assert row.success


# -- testing.md ----------------------------------------------------------------------


@pytest.mark.django_db(databases=ALIASES)
@pytest.mark.parametrize("alias", ALIASES)
def test_what_a_handler_wrote_before_a_database_error_is_gone_in_a_test(alias, monkeypatch):
    def write_and_collide(row, payload):
        Ledger.objects.using(alias).create(job="before")
        Ledger.objects.using(alias).create(pk=1, job="again")

    Ledger.objects.using(alias).create(pk=1, job="first")
    monkeypatch.setattr(handlers, "nothing", write_and_collide)
    with pytest.raises(IntegrityError):
        run(Job.objects.using(alias).create())
    assert Ledger.objects.using(alias).get().job == "first"


def test_a_countdown_does_not_wait_in_eager_mode(using, celery_app_eagerly):
    with transaction.atomic(using=using):
        [row] = Job.objects.using(using).bulk_create([Job()])
        row = Job.objects.using(using).get()
        row.publish(eta=timezone.now() + datetime.timedelta(hours=1))
    row.refresh_from_db()
    assert (row.status, row.success) == (DONE, True)


@pytest.fixture
def celery_app_eagerly():
    conf = tasks.do_task.app.conf
    conf.task_always_eager = True
    yield
    conf.task_always_eager = False


def test_a_thread_that_goes_on_after_the_block_publishes_to_the_broker(using):
    go_on = threading.Event()

    def save():
        assert go_on.wait(10)
        Job.objects.using(using).create()
        connections.close_all()

    thread = threading.Thread(target=save)
    with published() as sent:
        thread.start()
    go_on.set()
    thread.join()
    assert len(queued()) == 1 and sent.messages == []
