"""Auto-reset: who is reset, where, and beat's entry for it."""

import datetime
import json
import subprocess
import sys

import pytest
from celery import current_app
from django.db.models import F
from django.utils import timezone

from simpletask2_celery import publisher, redis_lists, state, tasks
from tests.fixtures import ROOT, close_breakers, environ, queued, wait_until
from tests.project.jobs.models import ChildJob, Job


def at(using, row, seconds, **fields):
    when = timezone.now() + datetime.timedelta(seconds=seconds)
    Job.objects.using(using).filter(pk=row.pk).update(auto_reset_time=when, **fields)


def in_queue(number):
    """Wait until so many are in the queue: RabbitMQ counts them a moment later."""
    wait_until(lambda: publisher.messages_in_queue("default") >= number)


def test_stale_rows_are_reset_and_published_and_no_others(using):
    objects = Job.objects.using(using)
    rows = {name: objects.create(note=name) for name in "abcdef"}
    at(using, rows["a"], -1)  # READY, its message was lost
    at(using, rows["b"], -1, status=20, start_time=timezone.now(), current_step=1)
    at(using, rows["c"], 60, status=20)  # its lease runs
    at(using, rows["d"], -1, status=30, success=True)  # DONE is DONE
    objects.filter(note="e").update(auto_reset_time=None)  # as bulk_create makes them
    queued()
    assert tasks.do_auto_reset()["jobs.job"] == 3
    assert {m["id"] for m in queued()} == {rows[n].pk for n in "abe"}
    after = {row.note: row for row in objects.all()}
    for name in "abe":
        row = after[name]
        assert (row.status, row.start_time, row.current_step) == (10, None, None)
        assert row.auto_reset_time > timezone.now()
    assert (after["c"].status, after["d"].status) == (20, 30)
    assert tasks.do_auto_reset()["jobs.job"] == 0
    assert queued() == []


def test_the_result_names_every_model_once(using):
    answer = tasks.do_auto_reset()
    assert set(answer) == {
        f"jobs.{name}"
        for name in "job steps asyncjob channeljob uuidjob codejob pairjob childjob".split()
    } | {"shop.order", "shop.parcel"}


def test_a_row_of_a_child_model_is_published_as_the_child(using):
    row = ChildJob.objects.using(using).create()
    at(using, row, -1)
    queued()
    answer = tasks.do_auto_reset()
    assert (answer["jobs.job"], answer["jobs.childjob"]) == (0, 1)
    assert [m["model"] for m in queued()] == ["childjob"]


def test_a_row_that_finishes_while_it_is_looked_at_is_left_alone(using):
    row = Job.objects.using(using).create()
    at(using, row, -1, status=20, start_time=timezone.now())
    pages = state.reset_pages(
        FinishedAfterTheLoad(Job, using=using), state.stale(timezone.now())
    )
    assert [changed for changed, _ in pages] == [0]
    row.refresh_from_db()
    assert (row.status, row.success) == (30, None)


class FinishedAfterTheLoad(Job.objects._queryset_class):
    """A query of which every row is done as soon as it is loaded."""

    def __iter__(self):
        rows = list(super().__iter__())
        for row in rows:
            Job.objects.using(self.db).get(pk=row.pk).done()
        return iter(rows)


def test_many_rows_go_in_pages(using, monkeypatch, django_assert_max_num_queries):
    from django.db import connections

    monkeypatch.setattr(state, "PAGE", 10)
    Job.objects.using(using).bulk_create([Job() for _ in range(95)])
    with django_assert_max_num_queries(45, connection=connections[using]):
        assert Job.do_auto_reset() == 95
    assert len(queued()) == 95


@pytest.mark.parametrize(
    ("using", "target"),  # a list's entry names rows of the default database only
    [
        ("default", "celery"),
        ("server", "celery"),
        ("default", "redis"),
        ("default", "both"),
    ],
)
def test_rows_that_wait_in_a_long_queue_do_not_flood_it(
    using, settings, monkeypatch, target
):
    """With no worker, and resets for ten times as long as the rows may wait."""
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = target
    monkeypatch.setattr(Job, "task_wait_timeout", 1)
    total = 10_000 if target == "celery" else 1_000
    objects = Job.objects.using(using)
    objects.bulk_create([Job() for _ in range(total)])
    assert Job.do_auto_reset() == total  # which publishes them, for the first time
    if target != "redis":
        in_queue(total)
    reset = []
    for _ in range(10):  # a second and a little goes by, each time
        over = F("auto_reset_time") - datetime.timedelta(seconds=1.1)
        objects.update(auto_reset_time=over)
        reset.append(Job.do_auto_reset())
        if target != "redis":
            in_queue(total)
    found = len(queued()) if target != "redis" else redis_lists.length("default")
    assert total <= found <= 2 * total, reset
    assert sum(1 for number in reset if number) <= 1
    assert not objects.exclude(status=10).exists()


def test_rows_whose_messages_are_lost_are_published_however_many(using):
    rows = [Job.objects.using(using).create() for _ in range(4)]
    for row in rows:
        at(using, row, -1)
    in_queue(4)
    assert Job.do_auto_reset() == 0
    queued()  # and now they are not there any more
    rows[0].publish()
    in_queue(1)
    assert Job.do_auto_reset() == 3
    assert len(queued()) == 4


def test_resets_do_not_wait_behind_a_backlog(using, celery):
    """The worker is busy for minutes; the row whose lease is over runs at once after."""
    run = current_app.conf.task_default_queue
    objects = Job.objects.using(using)
    rows = [objects.create(what="slow") for _ in range(600)]  # half a minute of them
    process = celery("worker", "-c", "1", "-Q", run, "-l", "INFO")
    wait_until(lambda: objects.filter(status=30).exists(), what=process.log)
    objects.filter(pk=rows[-1].pk).update(status=20, start_time=timezone.now())
    at(using, rows[-1], -1)
    wait_until(lambda: objects.get(pk=rows[-1].pk).status == 10, 15, process.log)
    assert objects.filter(status=30).count() < 500


def test_a_queue_that_is_empty_can_be_asked_again_and_again():
    counts = [publisher.messages_in_queue("default") for _ in range(3)]
    assert counts == [0, 0, 0]
    current_app.send_task("nothing", queue=current_app.conf.task_default_queue)
    in_queue(1)


def test_a_row_that_waits_very_long_is_published_whatever_the_queue_holds(using):
    row = Job.objects.using(using).create()
    at(using, row, -Job.task_wait_timeout * 11)
    assert Job.do_auto_reset() == 1
    assert len(queued()) == 2


def test_while_the_broker_fails_rows_stay_due(using):
    row = Job.objects.using(using).create()
    at(using, row, -1)
    running = Job.objects.using(using).create()
    at(using, running, -1, status=20, start_time=timezone.now())
    queued()
    publisher.celery_breaker.open()
    assert Job.do_auto_reset() == 1  # the one that ran: no broker keeps its reset back
    close_breakers()
    assert Job.do_auto_reset() == 1
    assert [message["id"] for message in queued()] == [row.pk]


def test_one_table_that_fails_does_not_keep_the_others(using, monkeypatch, caplog):
    from django.db import OperationalError

    def fails(cls):
        raise OperationalError("as told")

    monkeypatch.setattr(Job, "do_auto_reset", classmethod(fails))
    answer = tasks.do_auto_reset()
    assert "jobs.job" not in answer and "jobs.steps" in answer
    assert "Auto-reset of jobs.job failed" in caplog.text


def test_beat_has_the_entry():
    entry = current_app.conf.beat_schedule["simpletask2-auto-reset"]
    assert entry["task"] == "simpletask2_celery.do_auto_reset"
    assert entry["schedule"] == 1.0
    assert entry["options"]["expires"] < 1.0


SCHEDULE = """
import json, os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
from django.conf import settings
{before}
import django; django.setup()
from celery import current_app
current_app.finalize()  # as beat does
schedule = current_app.conf.beat_schedule
print(json.dumps({{name: [e["task"], e["schedule"]] for name, e in schedule.items()}}))
"""


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("settings.DJANGO_SIMPLETASK2_DO_AUTO_RESET = False", {}),
        (
            "settings.CELERY_BEAT_SCHEDULE = "
            "{'simpletask2-auto-reset': {'task': 'mine', 'schedule': 7}}",
            {"simpletask2-auto-reset": ["mine", 7]},
        ),
        (
            "settings.CELERY_BEAT_SCHEDULE = {'mine': {'task': 'mine', 'schedule': 7}}\n"
            "settings.DJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = 5",
            {
                "mine": ["mine", 7],
                "simpletask2-auto-reset": ["simpletask2_celery.do_auto_reset", 5],
            },
        ),
    ],
)
def test_the_users_word_on_the_schedule(before, expected):
    program = SCHEDULE.format(before=before)
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert json.loads(out.stdout) == expected, out.stderr
