"""Notes of claims, in this process: when they are written, and what they prove."""

import os
import subprocess
import sys

import pytest
from django.utils import timezone

from simpletask2_celery.recovery import board as claims
from simpletask2_celery.recovery import keeper
from simpletask2_celery.rows import claiming
from tests.support.fixtures import queued, wait_until
from tests.support.project.jobs.models import Job, PairJob


def test_limits_are_of_the_message_and_within_the_lease(using, settings):
    from tests.support.fixtures import messages

    settings.DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = True
    Job.objects.using(using).create()
    [(_, message)] = messages()
    assert message.headers["timelimit"] == [299, 295]


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
        row = claiming.claim(type(new), using, new.pk)
        with claims.noted(row, "task"):
            note = note_of(row, board)
            assert note["task_id"] == "task"
            assert not board.is_abandoned(0, note)
        assert list(board.notes()) == []


def test_runs_at_once_have_slots_of_their_own_and_long_names_none(using, board):
    rows = [Job.objects.using(using).create() for _ in range(3)]
    rows = [claiming.claim(Job, using, row.pk) for row in rows]
    with claims.noted(rows[0], "a"), claims.noted(rows[1], "b"):
        with claims.noted(rows[2], "c" * 5000):
            assert {note["task_id"] for _, note in board.notes()} == {"a", "b"}
    assert list(board.notes()) == []


PROCESS = """
import os, sys, time
from pathlib import Path
from simpletask2_celery.recovery import board as claims
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
    claimed = claiming.claim(Job, using, row.pk)
    with claims.noted(claimed, "task"):
        note = {**note_of(claimed, board), "timed_out": False}
    row.refresh_from_db()
    if change == "deleted":
        row.delete()
    elif change == "done":
        row.done(force=True)
    else:
        row.reset()
        if change == "claimed again":
            claiming.claim(Job, using, row.pk)
    queued()
    before = list(Job.objects.using(using).values())
    for timed_out, most in ((False, 5), (True, 5), (False, 1)):
        settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = most
        keeper.release({**note, "timed_out": timed_out})
    assert list(Job.objects.using(using).values()) == before
    assert queued() == []


def test_a_lost_run_is_released_once(using, board):
    row = Job.objects.using(using).create()
    claimed = claiming.claim(Job, using, row.pk)
    queued()
    with claims.noted(claimed, "task"):
        note = {**note_of(claimed, board), "timed_out": False}
    keeper.release(note)
    keeper.release(note)
    [message] = queued()
    assert message["id"] == row.pk
    row.refresh_from_db()
    assert row.status == row.READY and row.start_time is None
    assert row.auto_reset_time > timezone.now()
