"""Ctrl-C on the commands: nothing is half done."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest
from django.db import connections, transaction

from simpletask2_celery.rows import querysets
from tests.support.fixtures import ROOT, environ, queued, wait_until
from tests.support.project.jobs.models import EveryJob, Job
from tests.support.rows import done_jobs, ids_of, make, statuses

READY, DONE = 10, 30


MANY = 2 * querysets.PAGE + 100


@pytest.fixture
def start():
    """Start a command on the rows of jobs.Job; kill it at the end if it lives."""
    processes = []

    def begin(name, *words):
        call = [sys.executable, "-m", "django", f"simpletask2_{name}", "jobs.Job", *words]
        process = subprocess.Popen(
            [*call, "--database", "server"],
            cwd=ROOT,
            env=environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def interrupted(start):
    """Interrupt a command in its second page; return the number of rows it says."""

    def run(name, *words):
        rows = Job.objects.using("server")
        with transaction.atomic("server"):
            locked = rows.order_by("pk")[querysets.PAGE : querysets.PAGE + 1].get()
            rows.select_for_update().get(pk=locked.pk)
            process = start(name, *words)
            wait_until(is_waiting, 30)
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert process.poll() is None
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130, said
        return int(re.search(r"Stopped\. (\d+) row", said)[1])

    return run


on_server = pytest.mark.django_db(transaction=True, databases=["default", "server"])


@on_server
def test_ctrl_c_leaves_each_row_reset_and_published_or_untouched(interrupted):
    done_jobs("server", MANY)
    count = interrupted("reset", "--all")
    rows = Job.objects.using("server")
    ready = rows.filter(status=READY, success=None, done_time=None)
    assert 0 < count < MANY and count == ready.count()
    untouched = rows.filter(status=DONE, success=True).exclude(done_time=None)
    assert untouched.count() == MANY - count
    assert ids_of(queued()) == sorted(ready.values_list("pk", flat=True))


@on_server
def test_ctrl_c_leaves_each_row_deleted_with_its_related_ones_or_untouched(interrupted):
    jobs = done_jobs("server", MANY)
    EveryJob.objects.using("server").bulk_create([EveryJob(other_job=job) for job in jobs])
    rows, others = Job.objects.using("server"), EveryJob.objects.using("server")
    count = interrupted("prune", "--older-than", "30d")
    assert 0 < count < MANY
    assert rows.count() == others.count() == MANY - count


@on_server
def test_a_second_ctrl_c_does_not_wait_for_a_page_that_waits(start):
    first = done_jobs("server", 3)[0]
    with transaction.atomic("server"):
        Job.objects.using("server").select_for_update().get(pk=first.pk)
        process = start("prune", "--older-than", "30d")
        wait_until(is_waiting, 30)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Stopped. 0 rows were deleted." in said
    assert statuses("server") == [DONE] * 3


def is_waiting():
    """Tell whether a statement in the database of this process waits for a lock."""
    with connections["server"].cursor() as cursor:
        if connections["server"].vendor == "postgresql":
            cursor.execute(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid "
                "FROM pg_locks JOIN pg_database ON pg_database.oid = database "
                "WHERE datname = current_database())"
            )
        else:
            time.sleep(0.2)  # asked more often, it says what it said before
            cursor.execute(
                "SELECT 1 FROM information_schema.innodb_trx "
                "JOIN information_schema.processlist ON id = trx_mysql_thread_id "
                "WHERE trx_state = 'LOCK WAIT' AND db = database()"
            )
        return cursor.fetchone()


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_the_status_is_watched_until_ctrl_c():
    make("default", 8)
    queued()
    main, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "simpletask2_status", "--watch", "0.2"],
        cwd=ROOT,
        env=environ(),
        stdout=child,
        stderr=child,
    )
    os.close(child)
    seen = b""
    done = False
    end = time.monotonic() + 40
    while b"left" not in seen and time.monotonic() < end:
        seen += os.read(main, 4096)
        if not done and b"jobs.job" in seen:
            Job.objects.filter(pk__in=Job.objects.values("pk")[:4]).update(status=DONE)
            done = True
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    text = seen.decode(errors="replace")
    assert "50 %" in text and "████████████░░░░░░░░░░░░" in text, text[-3000:]
    assert "Traceback" not in text
    os.close(main)
