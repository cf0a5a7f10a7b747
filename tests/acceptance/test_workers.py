"""Real ``celery worker`` and ``celery beat`` processes, and rows they drive to DONE."""

import datetime

import pytest
from celery import current_app
from django.utils import timezone

from tests.support import ALIASES
from tests.support.fixtures import wait_until
from tests.support.project.jobs.handlers import mark
from tests.support.project.jobs.models import (
    AsyncJob,
    ChannelJob,
    Job,
    Ledger,
    Steps,
    UuidJob,
)
from tests.support.rows import done, on_each

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


def ledgers():
    """Return the names of the rows that a handler has run, sorted, by database."""
    lines = [Ledger.objects.using(alias) for alias in ALIASES]
    return [sorted(line.values_list("job", flat=True)) for line in lines]


def test_saved_rows_run(worker):
    process = worker(channels=(None, "mail"))
    runs = on_each(what="write_ledger")
    fails = on_each(what="fail")
    others = [*on_each(Steps), *on_each(AsyncJob), *on_each(ChannelJob, topic="mail")]
    others += [UuidJob.objects.using(alias).create() for alias in ALIASES]
    wait_until(done(*runs, *fails, *others), what=process.log)
    assert all(row.success for row in [*runs, *others])
    assert [row.success for row in fails] == [False, False]
    assert ledgers() == [[row.get_task_info()] for row in runs]
    log = process.log.read_text()
    assert log.count("ValueError: as told") >= 2 and log.count("calling do_task_main failed") >= 2
    for model in ("job", "steps", "asyncjob", "channeljob", "uuidjob"):
        assert f"Task jobs.{model}[" in log
    assert "Task simpletask2_celery.do_task[" not in log


def test_bad_messages_leave_the_worker_alive(worker):
    process = worker()
    name = "simpletask2_celery.do_task"
    for kwargs in ({}, {"app_label": "auth", "model": "user", "id": 1}, {"id": {"a": []}}):
        current_app.send_task(name, kwargs=kwargs)
    current_app.send_task(name, ("jobs", "job", "x"))
    current_app.send_task(name, (1, 2, 3, 4, 5, 6, 7))  # no signature fits
    rows = on_each()
    wait_until(done(*rows), what=process.log)
    assert all(row.success for row in rows) and process.poll() is None
    for code in ("2910011", "2910006", "2910005"):
        assert code in process.log.read_text()


def test_beat_finds_what_was_lost(worker, beat):
    over = timezone.now() - datetime.timedelta(seconds=5)
    lost = {"status": 20, "start_time": over, "auto_reset_time": over}
    for alias in ALIASES:
        rows = [Job(what="write_ledger") for _ in range(3)]
        rows.append(Job(what="write_ledger", **lost))
        Job.objects.using(alias).bulk_create(rows)
    process = worker()
    beat()
    rows = [row for alias in ALIASES for row in Job.objects.using(alias).all()]
    wait_until(done(*rows), what=process.log)
    assert [len(names) for names in ledgers()] == [4, 4]


def test_a_killed_child_loses_no_row(worker, beat):
    process = worker()
    beat()
    rows = on_each(what="die_once")
    for row in rows:
        wait_until(mark("died", row).exists, what=process.log)
    rows += [row for _ in range(10) for row in on_each(what="slow")]
    # The leases run for 300 s: let them be over, as time would.
    for row in rows[:2]:
        lost = Job.objects.using(row._state.db).filter(pk=row.pk, status=20)
        lost.update(auto_reset_time=timezone.now())
    wait_until(done(*rows), what=process.log)
    assert ledgers() == [
        sorted(row.get_task_info() for row in rows if row._state.db == alias) for alias in ALIASES
    ]
