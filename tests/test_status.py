"""The command that shows what rows, queues and workers do."""

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from django.core.management import call_command

from tests.fixtures import ROOT, environ, queued
from tests.project.jobs.models import Job
from tests.test_figures import DONE, ago, make


def run(name, *arguments):
    out = io.StringIO()
    call_command(f"simpletask2_{name}", *arguments, stdout=out)
    return out.getvalue().strip()


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_the_status_is_a_table_or_json():
    make("default", 3)
    make("default", 2, status=DONE, success=False, start_time=ago(9), done_time=ago(5))
    lines = run("status").splitlines()
    [line] = [line.split() for line in lines if line.startswith("jobs.job  ")]
    assert line[1:6] == ["3", "0", "0", "2", "2"]
    assert any(line.startswith("Broker: answers") for line in lines)
    found = json.loads(run("status", "--json"))
    [job] = [
        m for m in found["models"] if (m["model"], m["using"]) == ("jobs.job", "default")
    ]
    assert (job["total"]["ready"], job["total"]["failed"]) == (3, 2)
    queued()


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_the_status_is_watched_until_ctrl_c():
    make("default", 8)
    queued()
    main, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "simpletask2_status", "--watch", "0.2"],
        cwd=ROOT,
        env=environ(DJANGO_SETTINGS_MODULE="tests.project.settings", TEST_CHILD="1"),
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
