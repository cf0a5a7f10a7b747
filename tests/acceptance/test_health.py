"""Health of real workers and the command that says it."""

import json
import subprocess
import sys
import time

import pytest
from celery import current_app
from django.core.management import call_command

from simpletask2_celery.recovery import auto_reset
from tests.support.fixtures import ROOT, environ, is_ready, wait_until
from tests.support.project.jobs.models import Job

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


def command(*words, **environment):
    call = [sys.executable, "-m", "django", *words]
    env = environ(**environment)
    done = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_all_is_well(worker, settings, capsys):
    process = worker(children=1)
    wait_until(is_ready(process), 30, process.log)
    auto_reset.run()  # and the interval, 1 s, is short for a command's start
    code, out, _ = command("simpletask2_health", CHILD_INTERVAL="60")
    assert code == 0, out
    assert "ok   workers: 1 (celery@" in out and "ok   last auto-reset: " in out
    settings.DJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = 60.0
    with pytest.raises(SystemExit) as ended:
        call_command("simpletask2_health", "--json")
    assert ended.value.code == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] is True
    assert shown["findings"]["broker"]["ok"] is True


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


def test_a_worker_runs_the_resets_that_nobody_runs(worker):
    process = worker(children=1)  # and no beat; the interval is 1 s
    row = Job.objects.bulk_create([Job()]) and Job.objects.get()
    wait_until(lambda: Job.objects.get(pk=row.pk).status == 30, 20, process.log)
    log = process.log.read_text()
    assert "this worker runs one. Does beat run" in log
    time.sleep(2)  # and not again at once
    again = process.log.read_text().count("this worker runs one")
    assert again <= log.count("this worker runs one") + 1
