"""A save that gives a row another time to start."""

import datetime

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from simpletask2_celery.recovery import auto_reset
from simpletask2_celery.rows import claiming, due, rescheduling
from tests.support.fixtures import messages, queued
from tests.support.project.jobs.models import DurableJob, Ledger

MINUTE = datetime.timedelta(minutes=1)
WEEK = datetime.timedelta(days=7)


@pytest.fixture
def row(using):
    """Return a row that is to start in five minutes, whose message is gone."""
    made = DurableJob.objects.using(using).create(run_after=timezone.now() + 5 * MINUTE)
    queued()
    return made


def in_database(row):
    return DurableJob.objects.using(row._state.db).get(pk=row.pk)


def etas():
    """Take the messages; return the time of each."""
    sent = [message.headers["eta"] for _, message in messages()]
    return [eta and datetime.datetime.fromisoformat(eta) for eta in sent]


def assert_looked_at(row, moment):
    """The row of the database, and the object that was saved, say when auto-reset looks."""
    look = in_database(row).auto_reset_time
    assert abs(look - moment) < datetime.timedelta(seconds=5)
    assert row.auto_reset_time == look


@pytest.mark.parametrize("only", [None, {"run_after"}, ["note", "run_after"]])
@pytest.mark.parametrize("minutes", [2, 10])
def test_an_earlier_or_later_time_soon_is_published_with_it(row, only, minutes):
    row.run_after = timezone.now() + minutes * MINUTE
    row.save(update_fields=only)
    assert_looked_at(row, row.run_after + 5 * MINUTE)  # task_wait_timeout is 300 s
    assert etas() == [row.run_after]


@pytest.mark.parametrize("moment", [None, timezone.now() - WEEK])
def test_a_row_that_is_due_now_is_published_now(row, moment):
    row.run_after = moment
    row.save(update_fields={"run_after"})
    assert_looked_at(row, timezone.now() + 5 * MINUTE)
    assert etas() == [None]
    assert claiming.claim(DurableJob, row._state.db, row.pk).status == row.DOING


def test_a_time_far_ahead_is_kept_by_the_row_alone_and_then_published(row, using):
    row.run_after = timezone.now() + WEEK
    row.save()
    assert etas() == []
    assert in_database(row).auto_reset_time == row.run_after == row.auto_reset_time
    row.run_after = timezone.now() + MINUTE  # which nobody would have published for a week
    row.save()
    assert_looked_at(row, row.run_after + 5 * MINUTE)
    assert etas() == [row.run_after]


def test_a_time_as_text_and_one_that_the_database_computes(row):
    row.run_after = str(timezone.now() + WEEK)
    row.save()
    assert_looked_at(row, timezone.now() + WEEK)
    row.run_after = F("run_after") - WEEK + MINUTE
    row.save(update_fields={"run_after"})
    assert etas() == [in_database(row).run_after]
    assert_looked_at(row, timezone.now() + 5 * MINUTE)


@pytest.mark.parametrize("status", [DurableJob.DOING, DurableJob.DONE])
def test_of_a_row_that_is_not_ready_any_more_the_column_alone_is_written(row, using, status):
    rows = DurableJob.objects.using(using).filter(pk=row.pk)
    lease = timezone.now() + 3 * MINUTE if status == row.DOING else None
    rows.update(status=status, auto_reset_time=lease, start_time=timezone.now())
    row.run_after = timezone.now() + MINUTE
    row.save()
    current = in_database(row)
    assert (current.status, current.auto_reset_time) == (status, lease)
    assert current.run_after == row.run_after
    assert etas() == []


def test_a_stale_save_undoes_nothing(row, using):
    rows = DurableJob.objects.using(using).filter(pk=row.pk)
    later = timezone.now() + WEEK
    rows.update(run_after=later, auto_reset_time=later, attempts=2)
    row.note = "stale"
    row.save()
    row.save(update_fields=["run_after", "note"])
    current = in_database(row)
    assert (current.run_after, current.auto_reset_time, current.note) == (later, later, "stale")
    assert etas() == []


def test_a_save_says_it_once(row):
    row.run_after = timezone.now() + MINUTE
    row.save()
    assert len(etas()) == 1
    row.note = "another"
    row.save()
    assert etas() == []


def test_it_is_published_after_the_commit_or_not_at_all(row, using):
    before = row.run_after
    with transaction.atomic(using):
        row.run_after = None
        row.save()
        assert etas() == []
        transaction.set_rollback(True, using)
    assert etas() == []
    assert in_database(row).run_after == before
    with transaction.atomic(using):
        row.save()
    assert etas() == [None]
    assert in_database(row).run_after is None


def test_a_save_that_is_to_publish_nothing_leaves_the_row_to_auto_reset(row):
    row.run_after = None
    row.save(publish=False)
    assert etas() == []
    assert_looked_at(row, timezone.now() + 5 * MINUTE)


def test_the_table_of_a_parent_that_is_no_task_is_written_as_it_is():
    note = Ledger._meta.get_field("job")
    assert rescheduling.with_look(DurableJob(), Ledger, [(note, None, "x")]) is None


def test_a_look_that_the_caller_sets_is_the_callers(row):
    row.reset(save=False)
    row.save()
    assert in_database(row).run_after is None
    assert etas() == []  # as of any reset: whoever asks for it publishes the row


def test_a_row_that_nobody_publishes_is_found_when_it_is_due(row, using):
    row.run_after = timezone.now() + WEEK
    row.save()
    assert auto_reset.reset_model(DurableJob) == 0
    past = timezone.now() - MINUTE
    DurableJob.objects.using(using).filter(pk=row.pk).update(run_after=past, auto_reset_time=past)
    assert auto_reset.reset_model(DurableJob) == 1
    assert etas() == [None]


async def rescheduled(row):
    row.run_after = None
    await row.asave()


def test_from_async_code_it_is_the_same(row):
    async_to_sync(rescheduled)(row)
    assert etas() == [None]


def test_a_model_whose_save_never_calls_ours_is_looked_at_all_the_same(row, monkeypatch):
    """As a guard of another package's does it: its own UPDATE, and not the library's."""

    def own(self, base_qs, using, pk_val, values, *args, **kwargs):
        written = {column.name: value for column, _, value in values}
        # A bool for Django 5.2, from 6.0 on the values that the UPDATE returns for each row.
        return [()] * base_qs.filter(pk=pk_val).update(**written)

    monkeypatch.setattr(DurableJob, "_do_update", own)
    row.run_after = timezone.now() + WEEK
    row.save()
    assert in_database(row).auto_reset_time == row.run_after
    assert due.waits_unpublished(in_database(row))
