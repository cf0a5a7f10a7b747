"""``run_after``: when a durable row is due, and who keeps its time until then."""

import datetime
import warnings

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from simpletask2_celery import tasks
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.rows import due
from simpletask2_celery.running import executor
from tests.support.fixtures import messages, queued
from tests.support.project.jobs.models import DurableJob

UTC = datetime.UTC
MINUTES = datetime.timedelta(minutes=1)
HUNDRED_YEARS = datetime.timedelta(days=36500)


def ahead(delta):
    return (timezone.now() + delta).replace(microsecond=0)


def make(using, **fields):
    return DurableJob.objects.using(using).create(**fields)


def why_not(row):
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        executor.run(DurableJob, row._state.db, row.pk)
    return caught.value


def is_done(row):
    executor.run(DurableJob, row._state.db, row.pk)
    row.refresh_from_db()
    return row.success


def test_a_row_does_not_run_before_its_time_and_nothing_is_written(using):
    row = make(using, run_after=ahead(5 * MINUTES))
    row.refresh_from_db()
    before = dict(vars(row), _state=None)
    error = why_not(row)
    assert error.code == 2910016 and "is not due before" in error.message
    row.refresh_from_db()
    assert dict(vars(row), _state=None) == before
    DurableJob.objects.using(using).update(run_after=timezone.now())
    assert is_done(row)


def test_a_message_that_comes_early_is_nothing_to_do(using, caplog):
    row = make(using, run_after=ahead(5 * MINUTES))
    caplog.set_level("INFO")
    [(kwargs, message)] = messages()
    assert message.headers["eta"] == row.run_after.isoformat()
    assert tasks.do_task(**kwargs)["error"]["code"] == 2910016
    assert "nothing to do: 2910016" in caplog.text
    assert queued() == []


def test_up_to_a_quarter_of_an_hour_a_message_has_the_time(using):
    row = make(using, run_after=ahead(14 * MINUTES))
    [(_, message)] = messages()
    assert message.headers["eta"] == row.run_after.isoformat()
    wait = (row.auto_reset_time - row.run_after).total_seconds()
    assert wait == row.task_wait_timeout


def test_a_time_further_ahead_is_kept_by_the_row_and_auto_reset_publishes_it_then(using):
    row = make(using, run_after=ahead(16 * MINUTES))
    assert queued() == [] and row.auto_reset_time == row.run_after
    tasks.do_auto_reset()
    assert queued() == []
    past = timezone.now() - MINUTES
    DurableJob.objects.using(using).update(run_after=past, auto_reset_time=past)
    tasks.do_auto_reset()
    [message] = queued()
    assert message["id"] == row.pk
    assert is_done(row) and row.lost_attempts == 0


def test_auto_reset_leaves_a_row_made_by_bulk_create_to_its_time(using):
    rows = [DurableJob(run_after=ahead(time * MINUTES)) for time in (5, 60)]
    DurableJob.objects.using(using).bulk_create(rows)
    tasks.do_auto_reset()
    [(_, message)] = messages()
    assert message.headers["eta"] == rows[0].run_after.isoformat()
    soon, late = DurableJob.objects.using(using).order_by("run_after")
    assert late.auto_reset_time == late.run_after == rows[1].run_after
    assert soon.auto_reset_time == soon.run_after + 5 * MINUTES


@pytest.mark.parametrize("when", ["past", "null"])
def test_a_time_in_the_past_is_no_time(using, when):
    row = make(using, run_after=timezone.now() - 60 * MINUTES if when == "past" else None)
    [(_, message)] = messages()
    assert message.headers["eta"] is None
    assert is_done(row)


def test_a_naive_time_is_in_the_zone_of_the_settings(using, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    wall = datetime.datetime(2099, 1, 1, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # Django's, about naive times
        row = make(using, run_after=wall)
    row.refresh_from_db()
    assert row.run_after == datetime.datetime(2099, 1, 1, 4, tzinfo=UTC) == row.auto_reset_time
    assert why_not(row).code == 2910016


def test_a_text_is_a_time_as_in_any_field_of_django(using):
    row = make(using, run_after="2099-01-01T12:00:00+00:00")
    row.refresh_from_db()
    assert row.run_after == datetime.datetime(2099, 1, 1, 12, tzinfo=UTC) == row.auto_reset_time


@pytest.mark.parametrize("value", ["tomorrow", "", "2099-13-01T00:00:00Z"])
def test_what_is_no_time_is_refused_and_no_row_is_made(using, value):
    with pytest.raises(ValidationError):
        make(using, run_after=value)
    assert not DurableJob.objects.using(using).exists() and queued() == []


@pytest.mark.parametrize("value", [3, 2.5, ["2099"], {}])
def test_what_is_of_another_type_is_refused_and_no_row_is_made(using, value):
    with pytest.raises((TypeError, ValidationError)):
        make(using, run_after=value)
    assert not DurableJob.objects.using(using).exists() and queued() == []


@pytest.mark.parametrize(
    "moment",
    [ahead(HUNDRED_YEARS), datetime.datetime.max.replace(tzinfo=UTC, microsecond=0)],
    ids=["a hundred years", "the last second"],
)
@pytest.mark.parametrize("how", ["create", "publish", "retry"])
def test_a_time_that_nobody_lives_to_see_is_kept(using, handler, moment, how):
    if how == "create":
        row = make(using, run_after=moment)
    else:
        row = make(using, what=handler(lambda row, payload: row.retry(eta=moment)))
        queued()
    if how == "publish":
        row.publish(eta=moment)
    if how == "retry":
        with pytest.raises(Exception, match="Retry at"):
            executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert row.run_after == moment == row.auto_reset_time
    assert queued() == []
    assert why_not(row).code == 2910016
    tasks.do_auto_reset()
    assert queued() == []
    assert row.cancel()


def test_publish_sets_the_time_of_a_row(using):
    row = make(using)
    queued()
    row.publish(countdown=60)
    [(_, message)] = messages()
    row.refresh_from_db()
    assert message.headers["eta"] == row.run_after.isoformat()
    assert (row.run_after - timezone.now()).total_seconds() == pytest.approx(60, abs=5)


def test_a_later_time_outlasts_the_message_of_an_earlier_one(using):
    row = make(using)
    queued()
    row.publish(countdown=1)
    row.publish(countdown=3600)
    row.refresh_from_db()
    assert why_not(row).code == 2910016
    assert (row.run_after - timezone.now()).total_seconds() == pytest.approx(3600, abs=5)


def test_the_time_of_the_limit_is_a_quarter_of_an_hour():
    assert due.SOON == 900


def test_force_runs_a_row_before_its_time(using):
    row = make(using, run_after=ahead(60 * MINUTES))
    row.do_task(force=True)
    row.refresh_from_db()
    assert row.success


def test_a_time_that_the_database_computes_is_the_databases(using):
    from django.db.models.functions import Now

    row = make(using, run_after=Now())
    row.refresh_from_db()
    assert is_done(row)
