"""``save(publish=False)``: a new row that waits until somebody publishes it."""

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from simpletask2_celery import tasks
from simpletask2_celery.running import executor
from tests.support.fixtures import message_of, queued
from tests.support.lists import lists
from tests.support.project.jobs.models import ChildJob, CodeJob, Job, UuidJob
from tests.support.rows import DONE, READY, at

NEW = [(Job, {}), (CodeJob, {"code": "a"}), (UuidJob, {}), (ChildJob, {"extra": "x"})]


def save(row, is_async=False, **kwargs):
    if is_async:
        async_to_sync(row.asave)(**kwargs)
    else:
        row.save(**kwargs)
    return row


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("model", "fields"), NEW)
def test_a_new_row_is_saved_and_published_later(using, settings, model, fields, is_async):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "both"
    row = save(model(**fields), is_async, using=using, publish=False)
    assert queued() == [] and lists() == ([], set())
    assert model.objects.using(using).get().status == READY
    row.publish()
    assert queued() == [message_of(row)]


@pytest.mark.parametrize("is_async", [False, True])
def test_auto_reset_publishes_it_when_it_has_waited(using, is_async):
    row = save(Job(), is_async, using=using, publish=False)
    row.refresh_from_db()
    waits = (row.auto_reset_time - row.add_time).total_seconds()
    assert row.task_wait_timeout - 1 <= waits <= row.task_wait_timeout + 1
    assert tasks.do_auto_reset()["jobs.job"] == 0
    at(using, row, -1)
    assert tasks.do_auto_reset()["jobs.job"] == 1
    assert queued() == [message_of(row)]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kwargs", [{}, {"publish": True}, {"publish": True, "force_insert": True}])
def test_a_row_is_published_by_default(using, is_async, kwargs):
    row = save(Job(), is_async, using=using, **kwargs)
    assert queued() == [message_of(row)]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("value", [None, 0, 1, "no", "celery", 3.5])
def test_what_is_no_bool_is_refused_and_nothing_is_saved(using, is_async, value):
    with pytest.raises(TypeError, match=rf"publish must be True or False, not {value!r}\."):
        save(Job(), is_async, using=using, publish=value)
    assert not Job.objects.using(using).exists() and queued() == []


@pytest.mark.parametrize("is_async", [False, True])
def test_the_other_arguments_are_djangos(using, is_async):
    row = save(Job(note="a", other=1), is_async, using=using, force_insert=True, publish=False)
    row.note, row.other = "b", 2
    save(row, is_async, using=using, update_fields=["note"], publish=False)
    row.refresh_from_db()
    assert (row.note, row.other, row.status) == ("b", 1, READY) and queued() == []


def test_a_transaction_with_both_kinds_publishes_those_that_are_to_be(using):
    with transaction.atomic(using):
        first, second, third = Job(), Job(), Job()
        first.save(using=using)
        second.save(using=using, publish=False)
        third.save(using=using)
    assert queued() == [message_of(first), message_of(third)]


def test_a_row_may_be_given_a_delay_before_it_is_published(using):
    row = Job()
    row.save(using=using, publish=False)
    row.publish(countdown=600)
    row.refresh_from_db()
    assert (row.auto_reset_time - row.add_time).total_seconds() > 600
    assert queued() == [message_of(row)]


def test_create_takes_fields_alone(using):
    with pytest.raises(TypeError, match="publish"):
        Job.objects.using(using).create(publish=False)
    assert not Job.objects.using(using).exists()


def test_a_save_of_the_models_own_need_not_know_of_it(using, monkeypatch):
    """As of Django's own signature; asave() calls it."""

    def own(self, force_insert=False, force_update=False, using=None, update_fields=None):
        self.note = "own"
        super(Job, self).save(force_insert=force_insert, using=using)

    monkeypatch.setattr(Job, "save", own)
    row = save(Job(), is_async=True, using=using, force_insert=True)
    assert row.note == "own" and queued() == [message_of(row)]
    with pytest.raises(TypeError, match="publish"):
        save(Job(), is_async=True, using=using, publish=False)


def test_a_handler_creates_rows_that_wait(using, handler):
    def make_one(row, payload):
        Job(note="waits").save(using=using, publish=False)
        row.note = "changed"
        row.save(publish=False)

    row = Job.objects.using(using).create(what=handler(make_one))
    queued()
    executor.run(Job, using, row.pk)
    row.refresh_from_db()
    assert (row.note, row.status) == ("changed", DONE) and queued() == []
    assert Job.objects.using(using).get(note="waits").status == READY
