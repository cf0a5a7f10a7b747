"""Steps that commit with what their handlers wrote: on SQLite and on a server."""

import asyncio

import pytest
from celery.exceptions import Retry
from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from simpletask2_celery import tasks
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.running import executor
from tests.support.fixtures import queued
from tests.support.project.jobs.models import AtomicSteps, CodeJob, DurableJob, Ledger


def make(using, **fields):
    return AtomicSteps.objects.using(using).create(what="told", **fields)


def run(row):
    try:
        return executor.run(type(row), row._state.db, row.pk)
    finally:
        row.refresh_from_db()


def write(using, what):
    Ledger.objects.using(using).create(job=what, process="")


def written(using):
    return [*Ledger.objects.using(using).order_by("pk").values_list("job", flat=True)]


def failed(row):
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        run(row)
    assert caught.value.code == 2910009
    assert (row.status, row.success) == (row.DONE, False)
    return caught.value


def test_a_step_is_in_a_transaction_and_the_next_one_in_another(using, handler):
    seen = []

    def told(row, payload):
        seen.append(connections[using].in_atomic_block)
        write(using, str(payload["step"]))
        if payload["step"] == 2:
            raise OSError

    handler(told)
    failed(make(using))
    assert (seen, written(using)) == ([True, True], ["1"])


def test_a_swallowed_integrity_error_fails_the_row_and_commits_nothing(using, handler):
    def told(row, payload):
        write(using, "before")
        try:
            CodeJob.objects.using(using).create(code="taken")
        except IntegrityError:
            pass

    handler(told)
    CodeJob.objects.using(using).create(code="taken")
    row = make(using)
    error = failed(row)
    assert "transaction" in str(error)
    assert written(using) == [] and row.completed_step == 0
    assert "transaction" in row.errors[0]["message"]
    assert "IntegrityError" in row.errors[0]["traceback"]
    assert tasks.do_auto_reset()["jobs.atomicsteps"] == 0


def test_an_integrity_error_in_a_savepoint_of_the_handlers_own_does_no_harm(using, handler):
    def told(row, payload):
        write(using, "before")
        try:
            with transaction.atomic(using):
                CodeJob.objects.using(using).create(code="taken")
        except IntegrityError:
            write(using, "after")

    handler(told)
    CodeJob.objects.using(using).create(code="taken")
    row = make(using)
    run(row)
    assert row.success and written(using) == ["before", "after"] * 3


def test_a_handler_that_marks_its_transaction_for_rollback_fails_the_row(using, handler):
    def told(row, payload):
        write(using, "before")
        transaction.set_rollback(True, using=using)

    handler(told)
    row = make(using)
    failed(row)
    assert written(using) == [] and "transaction" in row.errors[0]["message"]


def test_a_handler_that_leaves_a_block_open_fails_the_row(using, handler):
    def told(row, payload):
        write(using, "before")
        transaction.atomic(using).__enter__()

    handler(told)
    row = make(using)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert written(using) == [] and row.success is not True


def test_rows_made_inside_are_published_by_the_commit_of_the_step_alone(using, handler):
    seen = []

    def told(row, payload):
        made = DurableJob.objects.using(using).create(note=str(payload["step"]))
        seen.append((made.pk, queued()))
        if payload["step"] == 2:
            raise OSError

    handler(told)
    row = make(using)
    queued()
    failed(row)
    [(first, before), (_, between)] = seen
    assert (before, [message["id"] for message in between]) == ([], [first])
    assert queued() == []
    assert [*DurableJob.objects.using(using).values_list("note", flat=True)] == ["1"]


def test_hooks_of_the_handler_run_at_the_commit_of_the_step(using, handler):
    ran = []

    def told(row, payload):
        transaction.on_commit(lambda: ran.append(payload["step"]), using=using)
        assert payload["step"] not in ran
        if payload["step"] == 3:
            raise ValueError("again")

    handler(told)
    with pytest.raises(Retry):
        run(make(using))
    assert ran == [1, 2]


def test_an_async_handler_writes_in_the_transaction_of_its_step(using, handler):
    async def told(row, payload):
        await asyncio.sleep(0)
        await Ledger.objects.using(using).acreate(job=str(payload["step"]), process="")
        if payload["step"] == 2:
            raise OSError

    handler(told)
    failed(make(using))
    assert written(using) == ["1"]


def test_another_database_and_what_leaves_the_process_are_not_rolled_back(handler, using):
    other = "server" if using == "default" else "default"

    def told(row, payload):
        write(other, "stays")
        write(using, "goes")
        raise OSError

    handler(told)
    failed(make(using))
    assert (written(using), written(other)) == ([], ["stays"])
    Ledger.objects.using(other).all().delete()


def test_what_a_handler_saves_of_its_row_is_rolled_back_with_the_step(using, handler):
    def told(row, payload):
        row.note += str(payload["step"])
        row.save()
        if payload["step"] == 2 and row.attempts == 1:
            raise ValueError("again")

    handler(told)
    row = make(using)
    with pytest.raises(Retry):
        run(row)
    assert row.note == "1"
    run(row)
    assert row.note == "123" and row.success


def test_a_retry_asked_for_rolls_the_step_back(using, handler):
    def told(row, payload):
        write(using, f"{row.attempts}.{payload['step']}")
        if row.attempts == 1 and payload["step"] == 2:
            row.retry(countdown=0)

    handler(told)
    row = make(using)
    with pytest.raises(Retry):
        run(row)
    assert written(using) == ["1.1"]
    run(row)
    assert written(using) == ["1.1", "2.2", "2.3"]


def test_a_row_that_was_reset_meanwhile_gets_nothing_of_the_step(using, handler):
    def told(row, payload):
        write(using, "lost")
        now = timezone.now()
        AtomicSteps.objects.using(using).filter(pk=row.pk).update(status=20, start_time=now)

    handler(told)
    row = make(using)
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        run(row)
    assert caught.value.code in (2910010, 2910014) and written(using) == []


def test_one_step_is_one_transaction_and_the_row_ends_with_it(using, handler, monkeypatch):
    """What the last step wrote is there if and only if the row is DONE."""
    monkeypatch.setattr(DurableJob, "atomic_steps", True)
    seen = []

    def told(row, payload):
        write(using, "once")
        seen.append(row.status)
        return {"n": 1}

    handler(told)
    row = DurableJob.objects.using(using).create(what="told")
    run(row)
    assert (row.status, row.return_value, written(using)) == (row.DONE, {"n": 1}, ["once"])


def test_a_generator_in_an_atomic_step_is_refused_and_rolled_back(using, handler):
    def told(row, payload):
        write(using, "before")
        return (number for number in range(3))

    handler(told)
    row = make(using)
    failed(row)
    assert "generator" in row.errors[0]["message"] and written(using) == []
