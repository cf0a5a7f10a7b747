"""Dead processes give their claims back: soon, by proof, and not for ever."""

import datetime
import os
import signal
import subprocess
import sys
import time

import pytest
from celery import current_app
from django.db import connections
from django.utils import timezone

from simpletask2_celery import claims, recovery, state
from tests.fixtures import folder, queued, wait_until
from tests.project.jobs.models import Job, Ledger, PairJob, Steps


def worker(celery, name="keeper", *more, **environment):
    run = current_app.conf.task_default_queue
    arguments = ("-c", "2", "-Q", run, "-l", "INFO", "-n", f"{name}@%h", *more)
    return celery("worker", *arguments, TMPDIR=str(folder()), **environment)


def beat(celery):
    schedule = str(folder() / "schedule")
    return celery("beat", "-s", schedule, "--max-interval", "0.5", "-l", "INFO")


def done(row):
    def ask():
        row.refresh_from_db()
        return row.status == row.DONE

    return ask


def runs(using):
    return Ledger.objects.using(using).count()


def test_the_row_of_a_killed_child_runs_again_in_seconds(using, celery):
    row = Job.objects.using(using).create(what="die_once")
    process = worker(celery)  # no beat, and a lease of 300 s
    mark = folder() / f"died-{row.get_task_info()}"
    wait_until(mark.exists, what=process.log)
    began = time.monotonic()
    wait_until(done(row), 20, process.log)
    assert time.monotonic() - began < 6
    assert row.success and runs(using) == 1
    log = process.log.read_text()
    assert log.count(f"{row.get_task_info()}: its process died; READY again.") == 1
    mark.unlink()


def test_a_killed_worker_gives_its_rows_back_when_it_starts_again(using, celery):
    row = Job.objects.using(using).create(what="held")
    name = row.get_task_info()
    running, go_on = folder() / f"running-{name}", folder() / f"go-on-{name}"
    process = worker(celery, "again")
    wait_until(running.exists, what=process.log)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    go_on.touch()
    row.refresh_from_db()
    assert row.status == row.DOING
    second = worker(celery, "other")  # of another name: it has no proof
    wait_until(lambda: " ready." in second.log.read_text(), what=second.log)
    time.sleep(1.5)
    row.refresh_from_db()
    assert row.status == row.DOING
    third = worker(celery, "again")
    wait_until(done(row), 20, third.log)
    assert row.success
    running.unlink(), go_on.unlink()


def test_a_poison_row_is_given_up(using, celery):
    row = Job.objects.using(using).create(what="die")
    process = worker(celery, "poisoned", CHILD_MAX_LOST_RUNS="3")
    wait_until(done(row), 60, process.log)
    assert row.success is False and row.done_time and row.auto_reset_time is None
    assert runs(using) == 3
    [line] = [line for line in process.log.read_text().splitlines() if "given up" in line]
    assert "ERROR" in line and "2910009" in line and "3 runs of it in a row" in line
    other = Job.objects.using(using).create()
    wait_until(done(other), 20, process.log)


def test_a_row_that_takes_whole_workers_down_is_given_up(using, celery):
    row = Job.objects.using(using).create(what="die_with_all")
    for number in range(3):
        process = worker(celery, "mortal", CHILD_MAX_LOST_RUNS="2")
        if number < 2:
            wait_until(lambda p=process: p.poll() is not None, 30, process.log)
    wait_until(done(row), 20, process.log)
    assert row.success is False and runs(using) == 2


def test_a_row_that_takes_whole_machines_down_is_given_up(using, celery):
    row = Job.objects.using(using).create(what="die_with_all")
    beat(celery)
    for number in range(3):  # each of another name, without the others' notes
        limits = {"CHILD_MAX_LOST_RUNS": "2", "TEST_LEASE": "1"}
        process = worker(celery, f"machine-{number}", **limits)
        if number < 2:
            wait_until(lambda p=process: p.poll() is not None, 30, process.log)
    wait_until(done(row), 20, process.log)
    assert row.success is False and runs(using) == 2


def times(log, *words):
    """Return when the lines were logged that hold all of these words, in seconds."""
    return [
        datetime.datetime.fromisoformat(line[1:24].replace(",", ".")).timestamp()
        for line in log.read_text().splitlines()
        if all(word in line for word in words)
    ]


def test_claims_are_released_within_a_second(using, celery):
    """Of the death itself, which the parent notices later."""
    rows = [Job.objects.using(using).create(what="die_once") for _ in range(6)]
    process = worker(celery, "prompt")
    waited = []
    for row in rows:
        wait_until(done(row), 30, process.log)
        [released] = times(process.log, f"{row.get_task_info()}: its process died")
        mark = folder() / f"died-{row.get_task_info()}"
        waited.append(released - mark.stat().st_mtime)
        mark.unlink()
    waited.sort()
    assert waited[-2] < 1 and waited[-1] < 5, waited  # one that a busy machine has kept


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
@pytest.mark.parametrize("reuse", ["", "100000"])
def test_many_slow_requests_share_the_few_connections_of_a_pool(celery, slow_site, reuse):
    if connections["server"].vendor != "postgresql":
        pytest.skip("a pool of psycopg")
    objects = Steps.objects.using("server")
    objects.bulk_create([Steps(what="proxied", url=slow_site) for _ in range(40)])
    Steps.publish_many(objects.all())
    limits = {"CHILD_POOL": "1", "CHILD_REUSE": reuse}
    process = worker(celery, "threads", "-P", "threads", "-c", "40", **limits)
    wait_until(lambda: not objects.exclude(status=30).exists(), 30, process.log)
    assert objects.filter(success=True, note__contains="2|200").count() == 40
    times = [row.done_time - row.start_time for row in objects.all()]
    assert sum(t.total_seconds() for t in times) / 40 < 5


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_a_killed_child_of_a_worker_whose_database_has_a_pool(celery):
    if connections["server"].vendor != "postgresql":
        pytest.skip("a pool of psycopg")
    rows = [Job.objects.using("server").create(what="die_once") for _ in range(3)]
    rows += [Job.objects.using("server").create(what="slow") for _ in range(30)]
    process = worker(celery, "pooled", CHILD_POOL="1")
    for row in rows:
        wait_until(done(row), 30, process.log)
        assert row.success
    assert runs("server") == len(rows)


def test_a_heartbeat_keeps_a_short_lease_alive(using, celery):
    row = Job.objects.using(using).create(what="three_seconds")
    process = worker(celery, "beating", CHILD_HEARTBEAT="0.3", TEST_LEASE="1")
    beat(celery)
    wait_until(done(row), 30, process.log)
    assert row.success and runs(using) == 1
    assert "simpletask2_celery.do_auto_reset" in process.log.read_text()


@pytest.mark.parametrize(
    ("what", "pool", "error"),
    [
        ("three_seconds", "prefork", "SoftTimeLimitExceeded"),
        ("hang", "prefork", "its time limit"),
        ("three_seconds", "gevent", "Timeout"),
    ],
)
def test_a_run_over_its_time_fails(using, celery, settings, monkeypatch, what, pool, error):
    settings.DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = True
    monkeypatch.setattr(Job, "do_task_timeout", 2)
    row = Job.objects.using(using).create(what=what)
    process = worker(celery, "limited", "-P", pool, TEST_LEASE="2")
    wait_until(done(row), 30, process.log)
    assert row.success is False and runs(using) == 1
    wait_until(lambda: error in process.log.read_text(), 5, process.log)
    assert "2910009" in process.log.read_text()


def test_limits_are_of_the_message_and_within_the_lease(using, settings):
    from tests.fixtures import messages

    settings.DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = True
    Job.objects.using(using).create()
    [(_, message)] = messages()
    assert message.headers["timelimit"] == [299, 295]


# -- the notes -----------------------------------------------------------------------------


@pytest.fixture
def board(tmp_path):
    board = claims.Board(tmp_path / "board")
    claims.post_on(board)
    yield board
    claims.post_on(None)
    board.close()


def note_of(row, board):
    [(_, note)] = board.notes()
    assert (note["model"], note["using"]) == (row._meta.model_name, row._state.db)
    return note


def test_a_claim_is_noted_for_as_long_as_it_lasts(using, board):
    for new in (Job(), PairJob(tenant=1, number=2)):
        new.save(using=using)
        row = state.claim(type(new), using, new.pk)
        with claims.held(row, "task"):
            note = note_of(row, board)
            assert note["task_id"] == "task"
            assert not board.is_abandoned(0, note)
        assert list(board.notes()) == []


def test_runs_at_once_have_slots_of_their_own_and_long_names_none(using, board):
    rows = [Job.objects.using(using).create() for _ in range(3)]
    rows = [state.claim(Job, using, row.pk) for row in rows]
    with claims.held(rows[0], "a"), claims.held(rows[1], "b"):
        with claims.held(rows[2], "c" * 5000):
            assert {note["task_id"] for _, note in board.notes()} == {"a", "b"}
    assert list(board.notes()) == []


PROCESS = """
import os, sys, time
from pathlib import Path
from simpletask2_celery import claims
board = claims.Board(Path(sys.argv[1]))
assert board.lock(7)
note = dict.fromkeys(claims._PARTS)
board.write(7, {**note, "process": claims.process_identity(os.getpid())})
print("noted", flush=True)
time.sleep(60)
"""


def test_only_death_proves_that_a_note_is_abandoned(board):
    command = [sys.executable, "-c", PROCESS, str(board.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "noted\n"
    [(slot, note)] = board.notes()
    assert slot == 7 and not board.is_abandoned(slot, note)
    process.kill()
    wait_until(lambda: board.is_abandoned(slot, note))  # also while nobody has reaped it
    process.communicate()
    assert board.is_abandoned(slot, note)
    # A process of the same number that began at another time is another one.
    note["process"] = [os.getpid(), claims.process_identity(os.getpid())[1] + 1]
    assert board.is_abandoned(slot, note)
    board.wipe(slot)


@pytest.mark.parametrize("change", ["reset", "claimed again", "done", "deleted"])
def test_a_note_of_a_row_that_went_on_changes_nothing(using, board, change, settings):
    row = Job.objects.using(using).create()
    claimed = state.claim(Job, using, row.pk)
    with claims.held(claimed, "task"):
        note = {**note_of(claimed, board), "timed_out": False}
    row.refresh_from_db()
    if change == "deleted":
        row.delete()
    elif change == "done":
        row.done(force=True)
    else:
        row.reset()
        if change == "claimed again":
            state.claim(Job, using, row.pk)
    queued()
    before = list(Job.objects.using(using).values())
    for timed_out, most in ((False, 5), (True, 5), (False, 1)):
        settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = most
        recovery.release({**note, "timed_out": timed_out})
    assert list(Job.objects.using(using).values()) == before
    assert queued() == []


def test_a_lost_run_is_released_once(using, board):
    row = Job.objects.using(using).create()
    claimed = state.claim(Job, using, row.pk)
    queued()
    with claims.held(claimed, "task"):
        note = {**note_of(claimed, board), "timed_out": False}
    recovery.release(note)
    recovery.release(note)
    [message] = queued()
    assert message["id"] == row.pk
    row.refresh_from_db()
    assert row.status == row.READY and row.start_time is None
    assert row.auto_reset_time > timezone.now()
