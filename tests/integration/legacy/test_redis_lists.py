"""The original's Redis lists: pushed to as before, and moved into Celery's queues."""

import time

import pytest
from django.core.management import CommandError, call_command

from simpletask2_celery.legacy import lists as taking
from simpletask2_celery.legacy import mover as legacy_channels
from simpletask2_celery.publishing import to_celery, to_lists
from tests.support.fixtures import (
    close_breakers,
    queued,
    redis,
    wait_until,
)
from tests.support.lists import lists, push
from tests.support.project.jobs.models import ChannelJob, Job, PairJob, UuidJob

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


# -- publishing --------------------------------------------------------------------------


def test_published_to_redis_as_the_original_does(settings):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"
    settings.DJANGO_SIMPLETASK2_CHANNEL_NAME_TEMPLATE = "simpletask2:q:{channel}"
    settings.DJANGO_SIMPLETASK2_CHANNEL_FLAGS_TEMPLATE = "simpletask2:f:{channel}"
    try:
        rows = [Job.objects.create(), Job.objects.create()]
        mail = ChannelJob.objects.create(topic="mail")
        names = [row.get_task_info().encode() for row in rows]
        assert redis().lrange("simpletask2:q:default", 0, -1) == names
        assert redis().smembers("simpletask2:f:default") == set(names)
        assert redis().lrange("simpletask2:q:mail", 0, -1) == [b"jobs.channeljob:%d" % mail.pk]
        assert queued() == queued("mail") == []
    finally:
        redis().delete(*redis().keys("simpletask2:[qf]:*"))


def test_published_to_both(settings):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "both"
    row = Job.objects.create()
    name = row.get_task_info().encode()
    assert lists() == ([name], {name})
    assert [message["id"] for message in queued()] == [row.pk]


def test_options_are_celerys_alone(settings):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "both"
    row = Job.objects.bulk_create([Job()]) and Job.objects.get()
    row.publish(countdown=60)
    assert lists() == ([], set())
    assert len(queued()) == 1
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"
    with pytest.raises(ValueError, match='countdown only where .* "celery" or "both"'):
        row.publish(countdown=60)
    row.publish()
    assert lists()[0] == [row.get_task_info().encode()]


def test_one_that_fails_does_not_keep_the_other_from_its_message(settings, caplog):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "both"
    to_celery.breaker.open()
    row = Job.objects.create()
    assert lists()[0] == [row.get_task_info().encode()]
    close_breakers()
    to_lists.breaker.open()
    Job.objects.create()
    assert len(lists()[0]) == 1 and len(queued()) == 1


def test_a_row_that_an_entry_cannot_name_is_not_pushed(settings, caplog):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"
    Job.objects.using("server").create()
    assert lists() == ([], set())
    assert "Rows not pushed: 1. They are not in the database" in caplog.text


# -- moving ------------------------------------------------------------------------------


def test_entries_become_messages_and_leave_nothing_behind():
    rows = [Job.objects.create(), UuidJob.objects.create()]
    rows.append(PairJob.objects.create(tenant=1, number=2))
    wanted = queued()
    push(*(row.get_task_info() for row in rows))
    assert legacy_channels.move("default") == 3
    assert queued() == wanted
    assert lists() == ([], set())
    assert redis().llen(taking.processing("default")) == 0
    push("jobs.job:77", channel="mail")
    legacy_channels.move("mail")
    assert [message["id"] for message in queued("mail")] == [77]


RUBBISH = [
    b"jobs.pairjob:" + b"[" * 100_000,
    b'jobs.pairjob:[1, "\\ud800"]',
    b"rubbish",
    b"",
    b"\xff\xfe",
    b"jobs.job:x",
    b"auth.user:1",
    b"nowhere.job:1",
    b'{"aclkey": 1}',
    b"x" * 100_000,
]


def test_malformed_entries_are_set_aside_and_kept(caplog):
    row = Job.objects.bulk_create([Job()]) and Job.objects.get()
    push(*RUBBISH, row.get_task_info())
    legacy_channels.move("default")
    assert [message["id"] for message in queued()] == [row.pk]
    assert redis().lrange(taking.malformed("default"), 0, -1) == RUBBISH
    assert lists() == ([], set())
    legacy_channels.recover("default")  # in no loop
    assert redis().llen(taking.malformed("default")) == len(RUBBISH)
    lines = [r for r in caplog.records if r.name == "simpletask2_celery.legacy.lists"]
    assert len(lines) == len(RUBBISH)
    assert all(len(line.getMessage()) < 500 for line in lines)


def test_what_a_dead_process_had_taken_is_taken_up():
    push(*(f"jobs.job:{n}" for n in range(5)))
    taking.take("default", 3)  # and dies
    assert len(lists()[0]) == 2
    legacy_channels.recover("default")
    legacy_channels.move("default")
    assert sorted(message["id"] for message in queued()) == [0, 1, 2, 3, 4]


def test_while_the_broker_fails_entries_stay(caplog):
    push("jobs.job:1")
    to_celery.breaker.open()
    mover = legacy_channels.Mover(["default"])
    mover._look_at("default"), mover._look_at("default")
    assert taking.taken("default", 10) == [b"jobs.job:1"]
    close_breakers()
    mover._failed["default"] -= legacy_channels.REST
    mover._look_at("default")
    assert [message["id"] for message in queued()] == [1]
    warnings = [r.getMessage() for r in caplog.records if "Redis list of channel" in r.getMessage()]
    assert len(warnings) == 2 and "moved again" in warnings[1]


def test_of_two_movers_each_entry_goes_to_one():
    push(*(f"jobs.job:{n}" for n in range(1200)))
    movers = [legacy_channels.Mover(["default"]) for _ in range(2)]
    for mover in movers:
        mover._recover_at["default"] = time.monotonic() + 60
        mover.start()
    wait_until(lambda: not redis().exists(to_lists.flags_of("default")))
    for mover in movers:
        mover.stop()
        mover.join()
    assert sorted(message["id"] for message in queued()) == list(range(1200))


def test_the_command_wants_a_channel():
    with pytest.raises(CommandError, match="Name the channels"):
        call_command("simpletask2_legacy_channels")


# -- checks ------------------------------------------------------------------------------
