"""Atomic steps on a server that deadlocks, kills a session, or loses the answer of a COMMIT."""

import threading
from contextlib import suppress

import pytest
from django.db import DatabaseError, OperationalError, connections
from django.utils import timezone

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.running import executor
from tests.support import cuts
from tests.support.fixtures import queued
from tests.support.project.jobs.models import AtomicSteps, DurableJob, Job, Ledger

SERVER = "server"
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", SERVER])


@pytest.fixture(autouse=True)
def healed():
    yield
    connections[SERVER].close()


def make(handler, told, **fields):
    return AtomicSteps.objects.using(SERVER).create(what=handler(told), **fields)


def run(row):
    try:
        return executor.run(type(row), SERVER, row.pk)
    finally:
        row.refresh_from_db()


def write(row, payload):
    Ledger.objects.using(SERVER).create(job=str(payload["step"]), process=str(row.pk))


def written(**where):
    return [
        *Ledger.objects.using(SERVER).filter(**where).order_by("pk").values_list("job", flat=True)
    ]


def in_threads(*rows):
    """Run rows side by side, each with a session of its own; return what they raised."""
    raised = []

    def work(row):
        try:
            executor.run(type(row), SERVER, row.pk)
        except BaseException as error:
            raised.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[row]) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return raised


@pytest.mark.parametrize("times", range(3))
def test_the_victim_of_a_deadlock_runs_its_step_again_and_both_end(handler, times):
    first, second = (Job.objects.using(SERVER).create() for _ in range(2))
    both = threading.Barrier(2, timeout=20)
    ran = []

    def told(row, payload):
        ran.append((row.pk, payload["step"]))
        write(row, payload)
        if payload["step"] != 2:
            return
        keys = [first.pk, second.pk] if row.note == "a" else [second.pk, first.pk]
        for key in keys:
            Job.objects.using(SERVER).filter(pk=key).update(note=row.note)
            if ran.count((row.pk, 2)) == 1 and not both.broken:
                meet(both)

    rows = [make(handler, told, note=note) for note in "ab"]
    assert in_threads(*rows) == []
    for row in rows:
        row.refresh_from_db()
        assert (row.status, row.success, row.attempts) == (row.DONE, True, 1)
        assert written(process=str(row.pk)) == ["1", "2", "3"]
        assert row.errors == []
    assert len(ran) == 7  # one step of one row ran a second time


@pytest.mark.parametrize("is_raw", [False, True])
def test_a_handler_that_swallows_a_deadlock_fails_and_commits_nothing(handler, is_raw):
    """On MySQL its next statement begins another transaction, which must not be committed."""
    first, second = (Job.objects.using(SERVER).create() for _ in range(2))
    both = threading.Barrier(2, timeout=20)
    swallowed = []

    def update(key):
        if is_raw:
            with connections[SERVER].cursor() as cursor:
                cursor.execute(f"UPDATE {Job._meta.db_table} SET other = 1 WHERE id = %s", [key])
        else:
            Job.objects.using(SERVER).filter(pk=key).update(other=1)

    def told(row, payload):
        if payload["step"] != 2:
            return
        keys = [first.pk, second.pk] if row.note == "a" else [second.pk, first.pk]
        update(keys[0])
        meet(both)
        try:
            update(keys[1])
        except OperationalError:
            swallowed.append(row.pk)
            with suppress(DatabaseError):
                write(row, payload)

    rows = [make(handler, told, note=note) for note in "ab"]
    [error] = in_threads(*rows)
    [victim] = swallowed
    for row in rows:
        row.refresh_from_db()
        assert (row.status, row.success) == (row.DONE, row.pk != victim)
    assert error.code == 2910009 and written() == []
    [failed] = [row for row in rows if row.pk == victim]
    assert (failed.completed_step, len(failed.errors)) == (1, 1)


def meet(barrier):
    """Wait until both have their first lock; only once."""
    try:
        if not barrier.broken:
            barrier.wait()
    except threading.BrokenBarrierError:
        return
    finally:
        barrier.abort()


def test_a_session_killed_in_a_step_costs_another_try_of_that_step(handler):
    ran = []

    def told(row, payload):
        ran.append(payload["step"])
        write(row, payload)
        if ran == [1, 2]:
            cuts.cut(SERVER)

    row = make(handler, told)
    run(row)
    assert ran == [1, 2, 2, 3] and written() == ["1", "2", "3"]
    assert (row.success, row.attempts, row.errors) == (True, 1, [])


def test_a_session_killed_before_the_handlers_next_query_costs_another_try(handler):
    ran = []

    def told(row, payload):
        ran.append(payload["step"])
        if ran == [1, 2]:
            cuts.cut(SERVER)
        write(row, payload)

    row = make(handler, told)
    run(row)
    assert ran == [1, 2, 2, 3] and written() == ["1", "2", "3"]
    assert (row.success, row.attempts, row.errors) == (True, 1, [])


def losing(monkeypatch, when, step, ran):
    """Kill the session before a step's COMMIT, or when it is done and its answer on the way.

    ``ran`` is the list of the steps that have run; returns that of the sessions killed.
    """
    connection = connections[SERVER]
    commit, killed = connection._commit, []

    def lossy():
        if ran[-1:] != [step] or killed:
            return commit()
        killed.append(step)
        if when == "before":
            cuts.cut_quietly(SERVER)
            return commit()
        commit()
        cuts.cut_quietly(SERVER)
        with connection.connection.cursor() as cursor, connection.wrap_database_errors:
            cursor.execute("SELECT 1")

    monkeypatch.setattr(connection, "_commit", lossy)
    return killed


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_session_killed_at_the_commit_of_a_step_doubles_and_loses_nothing(
    handler, monkeypatch, when, step
):
    ran = []

    def told(row, payload):
        ran.append(payload["step"])
        write(row, payload)
        row.note += str(payload["step"])

    row = make(handler, told)
    killed = losing(monkeypatch, when, step, ran)
    run(row)
    assert killed == [step]
    assert written() == ["1", "2", "3"]
    again = [step] if when == "before" else []
    assert sorted(ran) == sorted([1, 2, 3, *again])
    assert (row.status, row.success, row.note) == (row.DONE, True, "123")


def test_rows_of_a_commit_whose_answer_was_lost_are_found_by_auto_reset(handler, monkeypatch):
    """Django runs no hooks after such a commit: the rows are there, and were not published."""

    ran = []

    def told(row, payload):
        ran.append(payload["step"])
        if payload["step"] == 1:
            DurableJob.objects.using(SERVER).create(note="made")

    row = make(handler, told)
    queued()
    losing(monkeypatch, "after", 1, ran)
    run(row)
    made = DurableJob.objects.using(SERVER).get()
    assert row.success and queued() == []
    DurableJob.objects.using(SERVER).update(auto_reset_time=timezone.now())
    assert DurableJob.do_auto_reset() == 1
    assert [message["id"] for message in queued()] == [made.pk]


def test_a_run_whose_claim_went_while_its_session_was_dead_writes_nothing(handler):
    def told(row, payload):
        write(row, payload)
        cuts.cut(SERVER)
        steal = threading.Thread(target=stolen, args=[row.pk])
        steal.start()
        steal.join()

    row = make(handler, told)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert (row.status, row.start_time, written()) == (row.READY, None, [])


def stolen(pk):
    try:
        AtomicSteps.objects.using(SERVER).get(pk=pk).reset()
    finally:
        connections.close_all()
