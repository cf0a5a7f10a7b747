"""Health and missing resets: what a probe sees, and what a worker does about it."""

import datetime
import json
import subprocess
import sys
import time

import pytest
from celery import current_app
from django.core.management import call_command
from django.utils import timezone

from simpletask2_celery import (
    auto_reset,
    health,
    last_reset,
    missing_reset,
    project_cache,
)
from tests.fixtures import ROOT, environ, queued, redis, wait_until
from tests.project.jobs.models import Job

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "server"])
pytestmark = BOTH


@pytest.fixture(autouse=True)
def no_reset_noted():
    redis().delete(*(project_cache.key(name) for name in ("last-reset", "asked-for")))


def findings():
    return {finding.name: finding for finding in health.check(timeout=0.5)}


def worker(celery, **environment):
    run = current_app.conf.task_default_queue
    process = celery("worker", "-c", "1", "-Q", run, "-l", "INFO", **environment)
    wait_until(lambda: " ready." in process.log.read_text(), 30, process.log)
    return process


def command(*words, **environment):
    call = [sys.executable, "-m", "django", *words]
    env = environ(DJANGO_SETTINGS_MODULE="tests.project.settings", **environment)
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_nothing_runs():
    found = findings()
    assert {name: one.ok for name, one in found.items()} == {
        "database default": True,
        "database server": True,
        "broker": True,
        "workers": False,
        "oldest READY row": True,
        "rows past their lease": True,
        "last auto-reset": False,
    }
    assert found["oldest READY row"].value is None


def test_all_is_well(celery):
    worker(celery)
    auto_reset.run()  # and the interval, 1 s, is short for a command's start
    code, out, _ = command("simpletask2_health", CHILD_INTERVAL="60")
    assert code == 0, out
    assert "ok   workers: 1 (celery@" in out and "ok   last auto-reset: " in out
    code, out, _ = command("simpletask2_health", "--json", CHILD_INTERVAL="60")
    shown = json.loads(out)
    assert code == 0 and shown["ok"] is True
    assert shown["findings"]["broker"]["ok"] is True


def test_rows_that_wait_and_rows_past_their_lease():
    over = timezone.now() - datetime.timedelta(seconds=90)
    Job.objects.bulk_create([Job(), Job(status=20, auto_reset_time=over)])
    Job.objects.using("server").bulk_create([Job(status=20, auto_reset_time=over)])
    Job.objects.filter(status=10).update(add_time=over)
    found = findings()
    assert 90 <= found["oldest READY row"].value < 100
    assert found["rows past their lease"].value == 2


def test_a_broker_and_a_database_that_are_down():
    url = current_app.conf.broker_url.split(":")[0] + "://127.0.0.1:1//"
    began = time.monotonic()
    code, out, err = command("simpletask2_health", CHILD_BROKER_URL=url)
    assert time.monotonic() - began < 10
    assert code == 1 and "FAIL broker: not reached" in out, err
    database = "postgresql://nobody:secret@127.0.0.1:1/none"
    code, out, err = command("simpletask2_health", TEST_DATABASE_URL=database)
    assert code == 1 and "FAIL database" in out, err
    assert "secret" not in out + err and "Traceback" not in err


def test_a_reset_that_has_not_run_for_three_intervals(monkeypatch):
    auto_reset.run()
    assert findings()["last auto-reset"].ok
    later = time.time() + 40
    monkeypatch.setattr(time, "time", lambda: later)
    found = findings()["last auto-reset"]
    assert not found.ok and 40 <= found.value < 45 and found.text.endswith(" s ago")


def test_without_a_redis_cache_djangos_own_serves(settings):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    }
    assert last_reset.age() is None and not project_cache.is_shared()
    assert findings()["last auto-reset"].ok  # nobody can know
    auto_reset.run()
    assert last_reset.age() < 5
    assert last_reset.ask(60) and not last_reset.ask(60)


def test_a_reset_needs_no_cache(monkeypatch, settings):
    monkeypatch.setattr(project_cache, "_redis", lambda: 1 / 0)
    Job.objects.bulk_create([Job()])
    assert auto_reset.run()["jobs.job"] == 1
    assert last_reset.age() is None and last_reset.ask(1)


def test_a_worker_runs_the_resets_that_nobody_runs(celery):
    process = worker(celery)  # and no beat; the interval is 1 s
    row = Job.objects.bulk_create([Job()]) and Job.objects.get()
    wait_until(lambda: Job.objects.get(pk=row.pk).status == 30, 20, process.log)
    log = process.log.read_text()
    assert "this worker runs one. Does beat run" in log
    time.sleep(2)  # and not again at once
    again = process.log.read_text().count("this worker runs one")
    assert again <= log.count("this worker runs one") + 1


def test_of_many_workers_one_runs_it(monkeypatch):
    ran = []
    monkeypatch.setattr(auto_reset, "run", lambda: ran.append(1))
    watches = [missing_reset.Watch() for _ in range(3)]
    for watch in watches:
        watch._since -= 60
        watch._look()
    assert ran == [1]


def test_where_resets_are_not_wanted_nobody_watches(settings):
    settings.DJANGO_SIMPLETASK2_DO_AUTO_RESET = False

    class Sender:
        app = current_app._get_current_object()

    missing_reset._start(Sender)
    assert missing_reset._watches == []


def test_the_command_for_cron(capsys):
    Job.objects.bulk_create([Job(), Job()])
    call_command("simpletask2_auto_reset")
    assert capsys.readouterr().out == "jobs.job: 2\n"
    assert len(queued()) == 2 and last_reset.age() < 5
