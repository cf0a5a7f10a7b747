"""Workers and machines that die under load: no row is lost, a poison row is given up."""

import pytest

from simpletask2_celery.legacy import lists as taking
from tests.support import ALIASES
from tests.support.fixtures import kill, redis, wait_until
from tests.support.lists import lists, push
from tests.support.project.jobs.models import Job, Ledger
from tests.support.rows import done

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


def runs(using):
    return Ledger.objects.using(using).count()


def test_a_row_that_takes_whole_workers_down_is_given_up(using, worker):
    row = Job.objects.using(using).create(what="die_with_all")
    for number in range(3):
        process = worker(name="mortal", CHILD_MAX_LOST_RUNS="2")
        if number < 2:
            wait_until(lambda p=process: p.poll() is not None, 30, process.log)
    wait_until(done(row), 20, process.log)
    assert row.success is False and runs(using) == 2


def test_a_row_that_takes_whole_machines_down_is_given_up(using, worker, beat):
    row = Job.objects.using(using).create(what="die_with_all")
    beat()
    for number in range(3):  # each of another name, without the others' notes
        limits = {"CHILD_MAX_LOST_RUNS": "2", "TEST_LEASE": "1"}
        process = worker(name=f"machine-{number}", **limits)
        if number < 2:
            wait_until(lambda p=process: p.poll() is not None, 30, process.log)
    wait_until(done(row), 20, process.log)
    assert row.success is False and runs(using) == 2


@pytest.mark.parametrize("total", [300])
def test_workers_killed_under_load_lose_no_row(using, worker, beat, monkeypatch, total):
    """SIGKILL a whole worker twice while rows pour in; leases of 2 s."""
    # Redis keeps what a killed worker had fetched: the row itself must call for help.
    monkeypatch.setattr(Job, "task_wait_timeout", 2)
    monkeypatch.setattr(Job, "do_task_timeout", 2)
    beat()
    process = worker(name="one", TEST_LEASE="2")
    for _ in range(total):
        Job.objects.using(using).create(what="slow")
    ended = Job.objects.using(using).filter(status=30)
    for name in ("two", "three"):
        before = ended.count()
        wait_until(lambda before=before: ended.count() > before + 20, what=process.log)
        kill(process)
        process = worker(name=name, TEST_LEASE="2")
    wait_until(lambda: ended.count() == total, 90, what=process.log)
    assert ended.filter(success=True).count() == total


def test_a_killed_worker_loses_no_entry(worker):
    Job.objects.bulk_create([Job(what="write_ledger") for _ in range(1500)])
    push(*(row.get_task_info() for row in Job.objects.all()))
    moves = {"channels": (None, "mail"), "CHILD_LEGACY_CHANNELS": "default mail"}
    first = worker(name="first", **moves)
    wait_until(lambda: len(lists()[0]) < 1500, what=first.log)
    kill(first)
    worker(name="second", **moves)
    ended = Job.objects.filter(status=30)
    processing = taking.processing("default")
    wait_until(lambda: ended.count() >= 1490 and not redis().exists(processing), 90)
    assert lists() == ([], set())
    # The queue's messages that the killed process had fetched are auto-reset's to find.
    for row in Job.objects.exclude(status=30):
        row.reset()
        row.publish()
    wait_until(lambda: ended.count() == 1500)
