"""One row, one kind or one database that is bad, and everybody else's reset."""

import json
import tracemalloc

import pytest
from django.db import connections
from django.db.models.signals import post_init

from simpletask2_celery.recovery import auto_reset, hints
from simpletask2_celery.rows import timeouts
from tests.support.fixtures import queued
from tests.support.fixtures import redis as redis_of_the_lists
from tests.support.http_api import KEY, send
from tests.support.project.jobs.models import ChannelJob, EveryJob, Job, Steps
from tests.support.rows import DONE, READY

METHODS = ["get_channel_name", "get_task_wait_timeout"]


@pytest.fixture
def bad_row(monkeypatch):
    """Let one of a model's methods raise for rows with the topic "bad"."""

    def break_it(method):
        own = getattr(ChannelJob, method)

        def fails(self):
            if self.topic == "bad":
                raise LookupError("its tenant is gone")
            return own(self)

        monkeypatch.setattr(ChannelJob, method, fails)

    return break_it


def stale(using, *topics):
    rows = [ChannelJob(topic=topic) for topic in topics]
    ChannelJob.objects.using(using).bulk_create(rows)
    return ChannelJob.objects.using(using)


@pytest.mark.parametrize("method", METHODS)
def test_a_row_whose_method_raises_keeps_no_other_from_its_reset(using, bad_row, method, caplog):
    rows = stale(using, "a", "bad", "a")
    bad_row(method)
    auto_reset.run()
    assert len(queued("a")) == 2
    bad = rows.get(topic="bad")
    assert f"jobs.channeljob:{bad.pk}" in caplog.text and "LookupError" in caplog.text


def test_a_row_that_cannot_be_loaded_keeps_no_other_from_its_reset(using, caplog):
    rows = stale(using, "a", "a", "a")
    bad = rows.order_by("pk")[1].pk

    def refuse(instance, **kwargs):
        if instance.pk == bad:
            raise ValueError("cannot be decrypted")

    post_init.connect(refuse, sender=ChannelJob)
    try:
        auto_reset.run()
    finally:
        post_init.disconnect(refuse, sender=ChannelJob)
    assert len(queued("a")) == 2
    assert f"jobs.channeljob:{bad} is left out: ValueError" in caplog.text


@pytest.mark.parametrize("method", METHODS)
def test_it_is_handed_out_to_nobody_and_others_are(bad_row, method, db):
    stale("default", "bad")
    good = ChannelJob.objects.create(topic="a")
    bad_row(method)
    answer = send("get_a_task", json.dumps({"aclkey": KEY, "channels": "a,bad"}))
    assert answer["result"] == good.get_task_info()


def test_a_payload_that_cannot_be_read_is_not_read_by_a_reset(using, monkeypatch):
    row = EveryJob.objects.using(using).create(upper="x")
    EveryJob.objects.using(using).update(auto_reset_time=None)
    field = EveryJob._meta.get_field("upper")

    def refuse(*args):
        raise ValueError("cannot be decrypted")

    monkeypatch.setattr(field, "from_db_value", refuse)
    assert EveryJob.do_auto_reset() == 1
    assert {kwargs["id"] for kwargs in queued()} == {row.pk}


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_a_database_that_fails_keeps_no_other_from_its_reset(monkeypatch):
    for using in ("default", "server"):
        Steps.objects.using(using).create()
        Steps.objects.using(using).update(auto_reset_time=None)
    queued()

    def down(execute, sql, *rest):
        raise connections["default"].Database.DatabaseError("as told")

    with connections["default"].execute_wrapper(down):
        with pytest.raises(Exception, match="as told"):
            Steps.do_auto_reset()
    assert [kwargs["using"] for kwargs in queued()] == ["server"]


def test_memory_of_a_reset_does_not_grow_with_the_payload(using):
    rows = [Steps(note="x" * 500_000) for _ in range(80)]
    Steps.objects.using(using).bulk_create(rows, batch_size=10)
    del rows
    tracemalloc.start()
    try:
        assert Steps.do_auto_reset() == 80
        Steps.publish_many(Steps.objects.using(using).all())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000  # of 40 MB that the rows carry


@pytest.mark.parametrize("text", ["1" + "0" * 15, "9" * 5000, "-1", "0", "x", "1.5"])
def test_a_silly_timeout_in_redis_is_said_and_ignored(using, text, caplog):
    keys = [
        f"django-simpletask2:{name}:default" for name in ("task-wait-timeout", "do-task-timeout")
    ]
    for key in keys:
        redis_of_the_lists().set(key, text)
    timeouts.forget()
    try:
        row = Job.objects.using(using).create()
        row.do_task()
        Job.objects.using(using).update(auto_reset_time=None, status=READY)
        assert Job.do_auto_reset() == 1
    finally:
        redis_of_the_lists().delete(*keys)
        timeouts.forget()
    assert "must hold a number of seconds" in caplog.text
    row.refresh_from_db()
    assert row.status != DONE


@pytest.mark.parametrize("noted", [{"a": 1}, "x", [], True, float("inf"), 1e300, -1e300, None])
def test_a_strange_note_of_the_last_reset_is_no_note(noted):
    hints.put("last-reset", noted, 60)
    assert auto_reset.age() is None
