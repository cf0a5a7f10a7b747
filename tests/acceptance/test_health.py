"""Health of real workers and the command that says it."""

import io
import json
import subprocess
import sys
import time

import pytest
from celery import current_app
from django.core.management import call_command
from django.urls import reverse

from simpletask2_celery.recovery import auto_reset
from simpletask2_celery.watching import figures
from tests.support.fixtures import ROOT, environ, is_ready, kill, queue_name, wait_until
from tests.support.metrics import samples, scrape, value
from tests.support.project.jobs.models import ChannelJob, Job
from tests.support.rows import ago, done

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


@pytest.fixture
def look(settings, capsys):
    """Return the exit code of the command and its findings; resets are well."""
    settings.DJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = 600.0
    auto_reset.run()

    def call():
        with pytest.raises(SystemExit) as ended:
            call_command("simpletask2_health", "--json")
        return ended.value.code, json.loads(capsys.readouterr().out)["findings"]

    return call


@pytest.fixture
def serve(worker):
    """Start a worker that serves the queue of a channel, and resets nothing."""

    def start(channel, *options):
        named = {"name": channel or "rest", "channels": (channel,)}
        process = worker(*options, children=1, CHILD_INTERVAL="600", **named)
        wait_until(is_ready(process), 30, process.log)
        return process

    return start


def wait_for_a_worker(*channels):
    """Let a row wait in each channel since yesterday; its message is on no way."""
    ChannelJob.objects.bulk_create([ChannelJob(topic=channel) for channel in channels])
    ChannelJob.objects.update(add_time=ago(86400))


def test_a_queue_that_no_worker_serves_is_named_and_no_other(serve, look):
    serve("a")
    wait_for_a_worker("a", "mail")
    code, found = look()
    assert code == 1 and [name for name, one in found.items() if not one["ok"]] == ["queues"]
    assert found["queues"]["value"] == [queue_name("mail")]
    text = f"no worker serves {queue_name('mail')}; READY rows: 1, oldest: 86"
    assert found["queues"]["text"].startswith(text)
    ChannelJob.objects.filter(topic="mail").update(add_time=ago(100))  # it may come yet
    code, found = look()
    assert code == 0 and found["queues"]["value"] == [queue_name("mail")]


def test_all_that_watches_knows_which_queues_a_worker_serves(serve, admin_client):
    serve("a")
    wait_for_a_worker("a", "mail")
    by_channel = {one.channel: one.workers for one in figures.read().served}
    assert by_channel == {"default": 0, "a": 1, "mail": 0}
    assert [one.name for one in figures.read().unserved] == [queue_name("mail")]
    page = samples(scrape().text)
    workers = [value(page, "queue_workers", channel=channel) for channel in ("a", "mail")]
    assert workers == [1, 0]
    shown = admin_client.get(reverse("admin:simpletask2_dashboard")).content.decode()
    assert f"No worker serves {queue_name('mail')}." in shown
    out = io.StringIO()
    call_command("simpletask2_status", stdout=out)
    assert f"Queues without a worker: {queue_name('mail')}\n" in out.getvalue()


def test_a_queue_is_well_again_when_a_worker_serves_it(serve, look):
    serve("a")
    row = ChannelJob.objects.create(topic="mail")
    ChannelJob.objects.update(add_time=ago(86400))
    assert look()[0] == 1
    serve("mail")
    wait_until(done(row))
    wait_for_a_worker("mail")  # in vain or not: its queue is served
    code, found = look()
    assert code == 0, found
    text = "no row waits in a queue without a worker"
    assert (found["queues"]["value"], found["queues"]["text"]) == ([], text)


def test_a_queue_whose_worker_went_a_moment_ago_is_well_yet(serve, look, settings):
    serve("a")
    process = serve("mail")
    wait_for_a_worker("mail")
    assert look()[0] == 0
    kill(process)
    code, found = look()
    assert code == 0 and found["queues"]["value"] == [queue_name("mail")]
    settings.DJANGO_SIMPLETASK2_UNSERVED_TIMEOUT = 0.5
    wait_until(lambda: look()[0] == 1, 20)


def test_a_queue_whose_worker_is_too_busy_to_answer_is_well(serve, look):
    serve(None, "-P", "solo")
    serve("a")
    Job.objects.bulk_create([Job()])
    Job.objects.update(add_time=ago(86400))
    assert look()[0] == 0
    row = Job.objects.create(what="hang")
    wait_until(lambda: Job.objects.get(pk=row.pk).status == Job.DOING)
    code, found = look()
    assert len(found["workers"]["value"]) == 1 and found["queues"]["value"] == [queue_name()]
    assert code == 0


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
