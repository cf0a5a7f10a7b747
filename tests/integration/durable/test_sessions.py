"""Durable rows whose session to the database is cut, or silent about what it has done."""

import pytest
from django.db import connections
from django.utils import timezone

from simpletask2_celery.rows import claiming, transitions
from simpletask2_celery.running import atomic_steps, executor
from tests.support import cuts
from tests.support.project.jobs.models import AtomicSteps, DurableJob, DurableSteps, Ledger
from tests.support.rows import DONE, READY

SERVER = "server"
SLEEP = {"postgresql": "SELECT pg_sleep(0.7)", "mysql": "SELECT SLEEP(0.7)"}
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", SERVER])


@pytest.fixture(autouse=True)
def healed():
    """Leave no session that a test has cut."""
    yield
    connections[SERVER].close()


def run(row):
    try:
        executor.run(type(row), SERVER, row.pk)
    finally:
        row.refresh_from_db()


def effects(row):
    lines = Ledger.objects.using(SERVER).filter(job=row.get_task_info())
    return sorted(lines.values_list("process", flat=True))


def write_effect(row, payload):
    Ledger.objects.using(SERVER).create(job=row.get_task_info(), process=str(payload["step"]))


def test_an_atomic_step_whose_session_is_cut_is_begun_again_in_the_same_run(handler):
    cut = []

    def told(row, payload):
        write_effect(row, payload)
        if payload["step"] not in cut:
            cut.append(payload["step"])
            cuts.cut(SERVER)

    row = AtomicSteps.objects.using(SERVER).create(what=handler(told))
    run(row)
    assert (row.status, row.success, row.attempts) == (DONE, True, 1)
    assert cut == [1, 2, 3]
    assert effects(row) == ["1", "2", "3"]


def test_the_session_may_be_cut_again_while_the_row_is_loaded_for_that(handler):
    cut, left = [], [3]

    def told(row, payload):
        write_effect(row, payload)
        if not cut:
            cut.append(True)
            cuts.cut(SERVER)

    def cut_again(execute, sql, *more):
        if cut and left[0] and sql.startswith("SELECT"):
            left[0] -= 1
            cuts.cut(SERVER)
        return execute(sql, *more)

    row = AtomicSteps.objects.using(SERVER).create(what=handler(told))
    with connections[SERVER].execute_wrapper(cut_again):
        run(row)
    assert (row.status, row.attempts, left) == (DONE, 1, [0])
    assert effects(row) == ["1", "2", "3"]


def test_a_step_that_has_worked_for_long_is_begun_again_all_the_same(handler, monkeypatch):
    monkeypatch.setattr(atomic_steps, "PATIENCE", 0.5)
    cut = []

    def told(row, payload):
        write_effect(row, payload)
        if not cut:
            cut.append(True)
            cuts.execute(SERVER, SLEEP[connections[SERVER].vendor])
            cuts.cut(SERVER)

    row = AtomicSteps.objects.using(SERVER).create(what=handler(told))
    run(row)
    assert (row.status, row.attempts) == (DONE, 1)
    assert effects(row) == ["1", "2", "3"]


@pytest.mark.parametrize("model", [DurableJob, DurableSteps])
def test_a_retry_whose_answer_was_lost_is_no_lost_claim(model):
    row = model.objects.using(SERVER).create()
    claimed = claiming.claim(model, SERVER, row.pk)
    with cuts.losing_the_answer(SERVER) as left:
        transitions.retry(claimed, ValueError("not yet"), timezone.now())
    assert left == [0]
    row.refresh_from_db()
    assert (row.status, len(row.errors)) == (READY, 1)
