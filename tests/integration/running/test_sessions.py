"""What happens to a run's sessions: cut, answers lost, locks, left open by a handler."""

import threading
import time

import pytest
from django.db import connections, transaction
from django.db.backends.signals import connection_created
from django.db.models import F
from django.db.transaction import TransactionManagementError

from simpletask2_celery import exceptions, tasks
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.rows import claiming, clock, fence, sessions, transitions
from simpletask2_celery.running import executor
from tests.support import cuts
from tests.support.clock import clock as seconds
from tests.support.fixtures import messages
from tests.support.project.jobs.models import ChildJob, Job, Steps
from tests.support.rows import DOING, DONE, READY, overdue

SERVER = "server"
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", SERVER])


@pytest.fixture(autouse=True)
def healed():
    """Leave no session that a test has made impatient or read-only."""
    yield
    connections[SERVER].close()


def make(model=Job, **fields):
    return model.objects.using(SERVER).create(**fields)


def run(row):
    return executor.run(type(row), SERVER, row.pk)


def end_of(row):
    row.refresh_from_db()
    return row.status, row.success, row.note


@pytest.mark.parametrize("model", [Job, Steps, ChildJob])
def test_a_session_cut_in_a_handler_costs_no_second_run(handler, model):
    ran = []

    def told(row, payload):
        ran.append(payload["step"])
        row.note += str(payload["step"])
        cuts.cut(SERVER)

    row = make(model, what=handler(told))
    run(row)
    steps = list(range(1, row.final_step + 1))
    assert ran == steps
    assert end_of(row) == (DONE, True, "".join(map(str, steps)))


def test_a_session_cut_before_a_handler_raises_leaves_the_row_failed(handler):
    def told(row, payload):
        row.note = "kept"
        cuts.cut(SERVER)
        raise ValueError("as told")

    row = make(what=handler(told))
    with pytest.raises(DjangoSimpleTask2Error, match="ValueError: as told"):
        run(row)
    assert end_of(row) == (DONE, False, "kept")


def test_a_handler_whose_own_query_lost_the_session_runs_again(handler):
    """It has not failed by itself; the lease decides, as after a crash."""

    def told(row, payload):
        cuts.cut(SERVER)
        Job.objects.using(SERVER).count()

    row = make(what=handler(told))
    with pytest.raises(DjangoSimpleTask2Error, match="could not|failed"):
        run(row)
    assert end_of(row)[0] == DOING
    Job.objects.using(SERVER).update(auto_reset_time="2020-01-01T00:00:00Z")
    assert Job.do_auto_reset() == 1
    assert end_of(row)[0] == READY


@pytest.mark.parametrize("model", [Job, ChildJob])
def test_a_claim_on_a_dead_session_is_tried_again(model):
    row = make(model)
    clock.forget()
    cuts.cut(SERVER)
    run(row)
    assert end_of(row)[:2] == (DONE, True)


@pytest.mark.parametrize("model", [Job, ChildJob])
def test_a_claim_whose_answer_was_lost_is_this_runs_own(model):
    row = make(model)
    clock.now(SERVER)
    with cuts.losing_the_answer(SERVER) as left:
        claimed = claiming.claim(model, SERVER, row.pk)
    assert left == [0] and fence.of(claimed).token == claimed.start_time
    transitions.finish(claimed)
    assert end_of(row)[:2] == (DONE, True)


def test_nobody_else_takes_a_claim_for_theirs_whose_answer_was_lost():
    row = make()
    with cuts.losing_the_answer(SERVER):
        claiming.claim(Job, SERVER, row.pk)
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        claiming.claim(Job, SERVER, row.pk)
    assert caught.value.code == exceptions.CLAIMED


@pytest.mark.parametrize("model", [Steps, ChildJob])
def test_a_write_whose_answer_was_lost_is_not_done_twice(handler, model):
    """An expression would count twice; a finish would look like a lost claim."""

    def told(row, payload):
        if payload["step"] == 1 and model is ChildJob:
            row.other = F("other") + 1
        row.note = "written"

    row = make(model, what=handler(told))
    claimed = claiming.claim(model, SERVER, row.pk)
    for step in range(1, row.final_step + 1):
        if step > 1:
            with cuts.losing_the_answer(SERVER):
                transitions.start_step(claimed, step)
        getattr(claimed, f"do_task_main_step{step}")({"step": step})
    with cuts.losing_the_answer(SERVER):
        transitions.finish(claimed)
    assert end_of(row) == (DONE, True, "written")
    assert getattr(row, "other", 1) == 1


def test_an_expression_whose_answer_was_lost_counts_once(handler):
    row = make()
    claimed = claiming.claim(Job, SERVER, row.pk)
    claimed.other = F("other") + 1
    with cuts.losing_the_answer(SERVER) as left:
        transitions.save_step(claimed)
    transitions.finish(claimed)
    row.refresh_from_db()
    assert (left, row.other, row.status) == ([0], 1, DONE)


def test_a_failure_whose_answer_was_lost_is_a_failure():
    row = make()
    claimed = claiming.claim(Job, SERVER, row.pk)
    with cuts.losing_the_answer(SERVER):
        transitions.fail(claimed, ValueError())
    assert end_of(row)[:2] == (DONE, False)


def test_a_renewal_and_a_reservation_survive_a_cut():
    row = make()
    with cuts.losing_the_answer(SERVER):
        assert claiming.reserve(Job, SERVER, row.pk)
    assert not claiming.reserve(Job, SERVER, row.pk)
    claimed = claiming.claim(Job, SERVER, row.pk)
    cuts.cut(SERVER)
    assert transitions.renew(claimed)


def test_a_reset_survives_a_cut_and_a_lost_answer():
    rows = [make() for _ in range(3)]
    for row in rows:
        overdue(SERVER, row)
    cuts.cut(SERVER)
    messages()
    with cuts.losing_the_answer(SERVER) as left:
        assert tasks.do_auto_reset()["jobs.job"] == 3
    assert left == [0]
    assert {kwargs["id"] for kwargs, _ in messages()} == {row.pk for row in rows}
    assert not Job.objects.using(SERVER).exclude(status=READY).exists()


def test_a_read_only_session_is_given_up_for_a_new_one(handler):
    """A failover leaves sessions to a server that is no primary any more."""

    def told(row, payload):
        row.note = "written"
        cuts.make_read_only(SERVER)

    row = make(what=handler(told))
    run(row)
    assert end_of(row) == (DONE, True, "written")
    other = make()
    cuts.make_read_only(SERVER)
    run(other)
    assert end_of(other)[:2] == (DONE, True)


class Lock(threading.Thread):
    """Somebody's transaction, which has locked a row for so many seconds."""

    def __init__(self, row, seconds):
        super().__init__()
        self._row, self._seconds, self._has = row, seconds, threading.Event()
        self.start()
        assert self._has.wait(10)

    def run(self):
        with transaction.atomic(SERVER):
            Job.objects.using(SERVER).select_for_update().get(pk=self._row.pk)
            self._has.set()
            time.sleep(self._seconds)
        connections.close_all()


def test_a_lock_that_outlasts_the_patience_of_the_server_costs_no_second_run(handler):
    ran, locks = [], []

    def told(row, payload):
        ran.append(row.pk)
        row.note = "written"
        cuts.make_impatient(SERVER)
        locks.append(Lock(row, 1.5))

    row = make(what=handler(told))
    run(row)
    locks[0].join()
    assert (ran, end_of(row)) == ([row.pk], (DONE, True, "written"))


@pytest.mark.parametrize("model", [Job, ChildJob])
def test_a_claim_does_not_wait_for_a_lock_and_the_row_is_published_again(model):
    if not connections[SERVER].features.has_select_for_update_skip_locked:
        pytest.skip("this server cannot skip locked rows")
    row = make(model)
    messages()
    lock = Lock(row, 2)
    began = seconds()
    answer = tasks.do_task("jobs", model._meta.model_name, row.pk, SERVER)
    assert seconds() - began < 1
    assert answer["error"]["code"] == exceptions.CLAIMED
    lock.join()
    row.refresh_from_db()
    assert row.status == READY
    [(kwargs, message)] = messages()
    assert kwargs["id"] == row.pk and message.headers["eta"]


def open_by_autocommit(row):
    transaction.set_autocommit(False, SERVER)
    row.save()


def open_by_atomic(row):
    transaction.atomic(SERVER).__enter__()
    row.save()


def open_by_begin(row):
    cuts.execute(SERVER, "BEGIN")
    row.save()


@pytest.mark.parametrize("leave", [open_by_autocommit, open_by_atomic, open_by_begin])
@pytest.mark.parametrize("raises", [False, True])
def test_what_a_handler_leaves_open_is_rolled_back_and_fails_its_row(handler, leave, raises):
    def told(row, payload):
        row.note = "saved"
        leave(row)
        row.note = "at the end"
        if raises:
            raise ValueError("as told")

    row = make(what=handler(told))
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        run(row)
    assert caught.value.code == exceptions.HANDLER_FAILED
    assert type(caught.value.__cause__) is (ValueError if raises else TransactionManagementError)
    assert end_of(row)[:2] == (DONE, False)
    assert not connections[SERVER].in_atomic_block
    other = make()
    run(other)
    assert end_of(other)[:2] == (DONE, True)


def test_a_transaction_left_open_on_another_database_is_rolled_back_too(handler):
    def told(row, payload):
        transaction.atomic("default").__enter__()
        Job.objects.using("default").create(note="rolled back")

    row = make(what=handler(told))
    with pytest.raises(DjangoSimpleTask2Error, match="left open on default"):
        run(row)
    assert not Job.objects.using("default").exists()


def test_a_transaction_left_open_on_a_new_session_is_rolled_back_too(handler):
    """One that the handler itself has opened."""

    def told(row, payload):
        connections["default"].close()
        transaction.set_autocommit(False, "default")

    row = make(what=handler(told))
    connections["default"].close()
    with pytest.raises(DjangoSimpleTask2Error, match="left open on default"):
        run(row)
    assert transaction.get_autocommit("default")


def test_the_session_of_a_thread_that_has_ended_is_closed(handler):
    sessions.keep_track()
    opened = []

    def ask():
        Job.objects.using(SERVER).count()
        opened.append(connections[SERVER])

    def told(row, payload):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    row = make(what=handler(told))
    try:
        run(row)
        assert opened[0].connection is not None
        sessions.close_those_of_ended_threads()
        assert opened[0].connection is None
        assert connections[SERVER].connection is not None  # this thread has not ended
    finally:
        connection_created.disconnect(dispatch_uid="simpletask2_celery.rows.sessions")
        sessions._openers.clear()


def test_a_session_that_was_idle_is_looked_at(monkeypatch):
    row = make()
    sessions.look()
    cuts.cut(SERVER)
    monkeypatch.setattr(sessions, "IDLE", 0.0)
    sessions.look()
    assert connections[SERVER].connection is None
    run(row)
    assert end_of(row)[:2] == (DONE, True)


def test_in_somebody_elses_transaction_nothing_is_tried_again():
    row = make()
    claimed = claiming.claim(Job, SERVER, row.pk)
    with pytest.raises(DjangoSimpleTask2Error), transaction.atomic(SERVER):
        cuts.cut(SERVER)
        transitions.finish(claimed)
    row.refresh_from_db()
    assert row.status == DOING
