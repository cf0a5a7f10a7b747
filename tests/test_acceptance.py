"""Real ``celery worker`` and ``celery beat`` processes, and rows they drive to DONE."""

import datetime

import pytest
from celery import current_app
from django.utils import timezone

from tests.fixtures import folder, wait_until
from tests.project.jobs.models import AsyncJob, ChannelJob, Job, Ledger, Steps, UuidJob


def all_done(using, *models):
    def done():
        return not any(m.objects.using(using).exclude(status=30).exists() for m in models)

    return done


def worker(celery, *arguments):
    run = current_app.conf.task_default_queue
    queues = f"{run},{run}.mail"
    return celery("worker", "-c", "2", "-Q", queues, "-l", "INFO", *arguments)


def beat(celery):
    schedule = str(folder() / "schedule")
    return celery("beat", "-s", schedule, "--max-interval", "1", "-l", "INFO")


def test_saved_rows_run(using, celery):
    process = worker(celery)
    rows = [
        Job.objects.using(using).create(what="write_ledger"),
        Job.objects.using(using).create(what="fail"),
        Steps.objects.using(using).create(),
        AsyncJob.objects.using(using).create(),
        ChannelJob.objects.using(using).create(topic="mail"),
        UuidJob.objects.using(using).create(),
    ]
    models = [type(row) for row in rows]
    wait_until(all_done(using, *models), what=process.log)
    for row in rows:
        row.refresh_from_db()
    assert [row.success for row in rows] == [True, False, True, True, True, True]
    assert Ledger.objects.using(using).count() == 1
    assert "ValueError: as told" in process.log.read_text()


def test_bad_messages_leave_the_worker_alive(using, celery):
    process = worker(celery)
    name = "simpletask2_celery.do_task"
    for kwargs in ({}, {"app_label": "auth", "model": "user", "id": 1}, {"id": {"a": []}}):
        current_app.send_task(name, kwargs=kwargs)
    current_app.send_task(name, ("jobs", "job", "x"))
    current_app.send_task(name, (1, 2, 3, 4, 5, 6, 7))  # no signature fits
    row = Job.objects.using(using).create()
    wait_until(all_done(using, Job), what=process.log)
    row.refresh_from_db()
    assert row.success and process.poll() is None
    for code in ("2910011", "2910006", "2910005"):
        assert code in process.log.read_text()


def test_beat_finds_what_was_lost(using, celery):
    objects = Job.objects.using(using)
    objects.bulk_create([Job(what="write_ledger") for _ in range(3)])
    over = timezone.now() - datetime.timedelta(seconds=5)
    objects.bulk_create(
        [Job(status=20, start_time=over, auto_reset_time=over, what="write_ledger")]
    )
    process = worker(celery)
    beat(celery)
    wait_until(all_done(using, Job), what=process.log)
    assert Ledger.objects.using(using).count() == 4


def test_a_killed_child_loses_no_row(using, celery, monkeypatch):
    rows = [Job(what="die_once"), *(Job(what="slow") for _ in range(20))]
    process = worker(celery)
    beat(celery)
    for row in rows:
        row.save(using=using)
    Job.objects.using(using).filter(what="die_once").update(note="x")
    name = rows[0].get_task_info()
    mark = folder() / f"died-{name}"
    wait_until(mark.exists, what=process.log)
    # Its lease runs for 300 s: let it be over, as time would.
    Job.objects.using(using).filter(pk=rows[0].pk, status=20).update(
        auto_reset_time=timezone.now()
    )
    wait_until(all_done(using, Job), what=process.log)
    ran = list(Ledger.objects.using(using).values_list("job", flat=True))
    assert sorted(ran) == sorted(row.get_task_info() for row in rows)
    mark.unlink()


@pytest.mark.parametrize("total", [300])
def test_workers_killed_under_load_lose_no_row(using, celery, monkeypatch, total):
    """SIGKILL a whole worker twice while rows pour in; leases of 2 s."""
    import os

    run = current_app.conf.task_default_queue
    # Redis keeps what a killed worker had fetched: the row itself must call for help.
    monkeypatch.setattr(Job, "task_wait_timeout", 2)
    monkeypatch.setattr(Job, "do_task_timeout", 2)
    beat(celery)
    one = celery("worker", "-c", "2", "-Q", run, "-n", "one@%h", TEST_LEASE="2")
    for _ in range(total):
        Job.objects.using(using).create(what="slow")
    done = Job.objects.using(using).filter(status=30)
    for number in ("two", "three"):
        before = done.count()
        wait_until(lambda before=before: done.count() > before + 20, what=one.log)
        os.killpg(one.pid, 9)
        one = celery("worker", "-c", "2", "-Q", run, "-n", f"{number}@%h", TEST_LEASE="2")
    wait_until(all_done(using, Job), 90, what=one.log)
    assert done.filter(success=True).count() == total
