"""What a model takes on that becomes durable: columns that old code may leave out."""

import asyncio
import datetime

import pytest
from celery.exceptions import Retry, SoftTimeLimitExceeded
from django.db import connections, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from simpletask2_celery import tasks
from simpletask2_celery.models import DurableTask, SimpleTask
from simpletask2_celery.rows import memory
from simpletask2_celery.running import executor
from tests.support.fixtures import queued
from tests.support.project.jobs.models import AtomicSteps, DurableJob, DurableSteps, Job

ADDED = [
    field
    for field in DurableTask._meta.local_fields
    if field.name not in {one.name for one in SimpleTask._meta.local_fields}
]


def test_the_columns_of_the_original_stay_and_nine_are_added():
    names = [field.name for field in DurableTask._meta.local_fields]
    assert names[:11] == [field.name for field in SimpleTask._meta.local_fields]
    assert {field.name for field in ADDED} == memory.FIELDS and len(ADDED) == 9


@pytest.mark.parametrize("field", ADDED, ids=lambda field: field.name)
def test_a_column_may_be_null_or_has_a_default_of_the_database(field):
    assert field.null or field.db_default is not models.NOT_PROVIDED


def test_a_row_of_code_that_knows_no_such_column_runs(using, handler):
    """As an INSERT of old code, which names the columns of SimpleTask alone."""
    handler(lambda row, payload: int("x") if row.attempts == 1 else "done")
    old = [field for field in DurableJob._meta.local_fields if field.name not in memory.FIELDS]
    values = {field.column: field.get_default() for field in old if not field.primary_key}
    now = timezone.now().replace(tzinfo=None)
    values |= {"what": "told", "add_time": now, "mod_time": now}
    columns = ", ".join(map(connections[using].ops.quote_name, values))
    places = ", ".join(["%s"] * len(values))
    with connections[using].cursor() as cursor:
        sql = f"INSERT INTO {DurableJob._meta.db_table} ({columns}) VALUES ({places})"
        cursor.execute(sql, [*values.values()])
    row = DurableJob.objects.using(using).get()
    assert (row.attempts, row.lost_attempts, row.completed_step, row.errors) == (0, 0, 0, None)
    with pytest.raises(Retry):
        executor.run(DurableJob, using, row.pk)
    DurableJob.objects.using(using).update(run_after=None)
    executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert (row.success, row.return_value, len(row.errors)) == (True, "done", 1)


def statements(using, row):
    """Return the statements of a run, without those of transactions."""
    with CaptureQueriesContext(connections[using]) as queries:
        executor.run(type(row), using, row.pk)
    of_transactions = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
    said = [query["sql"] for query in queries.captured_queries]
    return [sql for sql in said if not sql.startswith(of_transactions)]


@pytest.mark.parametrize("atomic", [False, True])
def test_a_durable_row_takes_as_many_statements_as_another(using, monkeypatch, atomic):
    monkeypatch.setattr(DurableJob, "atomic_steps", atomic)
    for model in (Job, DurableJob):  # what is asked once
        executor.run(model, using, model.objects.using(using).create().pk)
    simple = statements(using, Job.objects.using(using).create())
    durable = statements(using, DurableJob.objects.using(using).create())
    assert len(durable) == len(simple)


def test_a_time_limit_is_an_exception_like_others(using, handler, monkeypatch):
    monkeypatch.setattr(DurableJob, "autoretry_for", (SoftTimeLimitExceeded,))

    def told(row, payload):
        if row.attempts == 1:
            raise SoftTimeLimitExceeded()

    handler(told)
    row = DurableJob.objects.using(using).create(what="told")
    with pytest.raises(Retry):
        executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert row.errors[0]["exception_class_path"].endswith(".SoftTimeLimitExceeded")


def test_the_lists_hold_no_times_so_the_row_keeps_each_of_them(using, settings):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"
    soon = timezone.now() + datetime.timedelta(seconds=30)
    row = DurableJob.objects.using(using).create(run_after=soon)
    row.refresh_from_db()
    assert row.auto_reset_time == row.run_after
    tasks.do_auto_reset()
    assert queued() == []


def test_publish_with_no_delay_makes_a_row_run_now(using):
    later = timezone.now() + datetime.timedelta(days=1)
    row = DurableJob.objects.using(using).create(run_after=later)
    assert queued() == []
    row.publish(countdown=0)
    assert len(queued()) == 1
    executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert row.success


@pytest.mark.parametrize(("length", "is_kept"), [(1 << 20, False), ((1 << 20) - 2, True)])
def test_a_return_value_of_more_than_a_mib_is_not_kept(using, handler, length, is_kept, caplog):
    handler(lambda row, payload: "x" * length)  # and two quotes
    row = DurableJob.objects.using(using).create(what="told")
    executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert row.success and row.return_value == ("x" * length if is_kept else None)
    assert ("is too long" in caplog.text) is not is_kept


def test_a_pending_request_is_kept_with_its_password(using, handler):
    """And not longer than until the next step has ended."""

    def told(row, payload):
        if payload["step"] == 1:
            url = "http://127.0.0.1:1/"
            return {"proxy": {"method": "GET", "url": url, "auth": ("user", "word")}}
        if row.attempts == 1:
            raise ValueError("again")

    handler(told)
    row = DurableSteps.objects.using(using).create(what="told")
    with pytest.raises(Retry):
        executor.run(DurableSteps, using, row.pk)
    row.refresh_from_db()
    assert row.pending_request["auth"] == ["user", "word"]
    assert "word" not in str(row.errors)
    executor.run(DurableSteps, using, row.pk)
    row.refresh_from_db()
    assert row.success and row.pending_request is None


def test_a_row_that_waits_for_its_time_has_lost_nothing_when_it_is_published(using):
    row = AtomicSteps.objects.using(using).create()
    past = timezone.now()
    AtomicSteps.objects.using(using).update(run_after=past, auto_reset_time=past)
    assert tasks.do_auto_reset()["jobs.atomicsteps"] == 1
    row.refresh_from_db()
    assert (row.status, row.lost_attempts) == (row.READY, 0)


@pytest.mark.django_db(transaction=True)
def test_rows_are_cancelled_and_reset_from_async_code():
    async def calls():
        row = await DurableJob.objects.acreate()
        assert await row.acancel()
        assert not await row.acancel()
        await row.areset(resume=True)
        await row.arefresh_from_db()
        return row

    row = asyncio.run(calls())
    assert (row.status, row.errors) == (row.READY, [])
