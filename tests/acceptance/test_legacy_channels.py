"""Workers move the entries of the original's Redis lists."""

import signal
import subprocess
import sys
import time

import pytest

from tests.support.fixtures import (
    ROOT,
    environ,
    is_ready,
    queued,
    stop,
    wait_until,
)
from tests.support.lists import push
from tests.support.project.jobs.models import ChannelJob, Job, Ledger

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


def test_workers_pick_entries_up_within_a_second(worker):
    process = worker(channels=(None, "mail"), CHILD_LEGACY_CHANNELS="default mail")
    wait_until(is_ready(process), what=process.log)
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


def test_the_command_moves_until_it_is_told_to_end():
    command = [sys.executable, "-m", "django", "simpletask2_legacy_channels", "default"]
    environment = environ()
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    try:
        push("jobs.job:5")
        assert wait_until(queued, what="the message")[0]["id"] == 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        stop(process)
        process.stdout.close()
