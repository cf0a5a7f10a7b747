"""The state machine against a plain model of it: compatibility facts, sections 3 and 5.

Hypothesis draws what happens, in which order, to a few rows and to the runs that
have claimed them. After each event every column of every row must be what the model
says, and whoever caused the event must have been told what the model says. A run
whose claim is lost stays: whatever it still writes is a late write.
"""

import datetime
import itertools
from dataclasses import dataclass
from functools import partial

import pytest
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from simpletask2_celery import exceptions as codes
from simpletask2_celery import tasks
from simpletask2_celery.exceptions import ClaimLost, DjangoSimpleTask2Error
from simpletask2_celery.rows import claiming, transitions
from tests.support.fixtures import message_of, queued
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import Job, Steps

READY, DOING, DONE = 10, 20, 30
WAIT = LEASE = 300
ROWS = 3
EXAMPLES = {"default": (90, 40), "server": (45, 40)}  # how many, of how many events
MOST_LOST = 2  # few, so that rows are given up often
COLUMNS = (
    "status current_step success note add_time mod_time auto_reset_time"
    " start_time step1_time step2_time step3_time done_time"
).split()


@dataclass(frozen=True)
class Now:
    """A time that the event wrote: its own, or so many seconds later."""

    seconds: int = 0

    def is_in(self, value, began, ended):
        ahead = datetime.timedelta(seconds=self.seconds)
        return value is not None and began + ahead <= value <= ended + ahead


@dataclass(eq=False)
class Row:
    """A row as section 3 has it: a method for each transition."""

    model: type
    pk: int
    known: object  # the row as its creator has it, who has not looked since
    auto_reset_time: object
    add_time: object = Now()
    mod_time: object = Now()
    status: int = READY
    start_time: object = None
    current_step: object = None
    step1_time: object = None
    step2_time: object = None
    step3_time: object = None
    done_time: object = None
    success: object = None
    note: str = ""  # what runs write
    other: int = 0  # what others write
    gone: bool = False
    reserved: bool = False
    claims: int = 0  # how often it has been claimed; the last claim is the one that holds
    lost: int = 0  # runs that auto-reset has found lost, since somebody has reset it

    def claim(self):
        self.status = DOING
        self.start_time = self.step1_time = self.mod_time = Now()
        self.current_step = 1
        self.auto_reset_time = Now(LEASE)
        self.reserved = False
        self.claims += 1

    def start_step(self, step):
        self.current_step = step
        self.mod_time = Now()
        if step <= 3:  # steps above have no column
            setattr(self, f"step{step}_time", Now())

    def end(self, success):
        self.status, self.success = DONE, success
        self.done_time = self.mod_time = Now()
        self.auto_reset_time = None

    def reset(self):
        self.status = READY
        self.start_time = self.step1_time = self.step2_time = self.step3_time = None
        self.done_time = self.current_step = self.success = None
        self.auto_reset_time = Now(WAIT)
        self.mod_time = Now()
        self.reserved = False
        self.lost = 0

    def auto_reset(self):
        """Return whether it is READY again: a row that loses too many runs is given up."""
        lost = self.lost + (self.status == DOING)
        if self.status == DOING and lost >= MOST_LOST:
            self.end(success=False)
        else:
            self.reset()
        self.lost = lost
        return self.status == READY

    def lease_is_over(self):
        lease = self.auto_reset_time
        return isinstance(lease, datetime.datetime) and lease < timezone.now()

    def is_unchanged(self):
        over = self.status != DONE and self.lease_is_over()
        return over or (self.status == READY and self.auto_reset_time is None)

    def why_not(self):
        """Return the code that a claim is answered with: section 5."""
        if self.gone:
            return codes.ROW_GONE
        if self.status == DONE:
            return codes.ALREADY_DONE
        if self.status == DOING:
            return codes.NOT_READY if self.lease_is_over() else codes.CLAIMED
        return None

    def why_no_step(self, step):
        """Return the code that step n > 1 without a claim is answered with."""
        if self.gone or self.status == DONE:
            return self.why_not()
        if self.status == READY or self.current_step < step - 1:
            return codes.STEP_NOT_SAVED
        return codes.CLAIMED if self.current_step >= step else None


@dataclass(eq=False)
class Run:
    """A worker that has claimed a row, and what it has in memory."""

    row: Row
    task: object
    claim: int
    step: int = 1
    note: str | None = None  # None: the handler has not changed it
    is_over: bool = False  # it has ended its row itself: then its object is as any other

    def holds(self):
        row = self.row
        return not row.gone and row.status == DOING and row.claims == self.claim

    def has_a_step_left(self):
        return self.step < self.row.model.final_step


class Machine(RuleBasedStateMachine):
    rows = Bundle("rows")
    deleted = Bundle("deleted")
    runs = Bundle("runs")

    def __init__(self, using):
        super().__init__()
        self.using = using
        self.table = []
        self.alive = []
        self.numbers = itertools.count(1)
        self.act = "nothing"
        self.began = timezone.now()
        handlers.told = self.handler

    def teardown(self):
        for model in (Job, Steps):
            self.objects(model).all().delete()
        queued()

    def objects(self, model):
        return model.objects.using(self.using)

    def load(self, row):
        return self.objects(row.model).get(pk=row.pk)

    def stored(self, row):
        return self.objects(row.model).filter(pk=row.pk)

    def told(self, code, call, *args, **kwargs):
        """Call; who calls must be told ``code``, or nothing."""
        if code is None:
            return call(*args, **kwargs)
        with pytest.raises(DjangoSimpleTask2Error) as caught:
            call(*args, **kwargs)
        assert caught.value.code == code
        return None

    # -- rows come and go ----------------------------------------------------------

    def new(self, model, bulk):
        fields = {"what": "told", "other" if model is Job else "url": "0"}
        if bulk:
            self.objects(model).bulk_create([model(**fields)])
            wait = None
        else:
            self.objects(model).create(**fields)
            wait = Now(WAIT)
        known = self.objects(model).latest("pk")
        self.table.append(Row(model, known.pk, known, wait))
        return self.table[-1]

    @initialize(target=rows)
    def first_rows(self):
        return multiple(self.new(Job, bulk=False), self.new(Steps, bulk=False))

    @precondition(lambda self: sum(not row.gone for row in self.table) < ROWS)
    @rule(target=rows, model=st.sampled_from([Steps, Steps, Job]), bulk=st.booleans())
    def create(self, model, bulk):
        return self.new(model, bulk)

    @rule(target=deleted, row=consumes(rows))
    def delete(self, row):
        self.stored(row).delete()
        row.gone = True
        return row

    @rule(row=deleted)
    def message_of_a_deleted_row_arrives(self, row):
        assert not list(self.claimed(row)) and not list(self.claimed(row, force=True))
        self.post_step(row, 1, "nothing")
        assert claiming.reserve(row.model, self.using, row.pk) is False

    # -- a worker's run, one write at a time ---------------------------------------

    @rule(target=runs, row=rows, workers=st.integers(1, 3))
    def claim(self, row, workers):
        """So many workers get the row's message: one claims the row, or none."""
        return multiple(*(run for _ in range(workers) for run in self.claimed(row)))

    @rule(target=runs, row=rows)
    def claim_by_force(self, row):
        return multiple(*self.claimed(row, force=True))

    def claimed(self, row, force=False):
        code = row.why_not()
        if force and not row.gone:
            code = None
        task = self.told(code, claiming.claim, row.model, self.using, row.pk, force)
        if code is None:
            row.claim()
            self.alive.append(Run(row, task, row.claims))
            yield self.alive[-1]

    def write(self, run, call, code=codes.STEP_NOT_SAVED):
        """Let the run write; True if it could, for it has its claim."""
        if not run.holds():
            with pytest.raises(ClaimLost) as caught:
                call()
            assert caught.value.code == code
            return False
        call()
        run.row.mod_time = Now()
        if run.note is not None:
            run.row.note = run.note
        return True

    @rule(run=runs)
    def handler_changes_a_field(self, run):
        """Not to one that the row has had: see the test at the end."""
        run.note = run.task.note = f"note {next(self.numbers)}"

    @rule(run=runs)
    def handler_saves(self, run):
        if not run.is_over:
            self.write(run, run.task.save)

    @rule(run=runs)
    def handler_saves_one_field(self, run):
        if run.is_over:
            return
        mod_time = run.row.mod_time
        if self.write(run, partial(run.task.save, update_fields=["note"])):
            run.row.mod_time = mod_time

    @rule(run=runs, status=st.sampled_from([READY, DONE]))
    def handler_meddles_with_the_state(self, run, status):
        if run.is_over:
            return
        run.task.status = status
        run.task.current_step, run.task.success = 7, False
        run.task.start_time = run.task.auto_reset_time = run.task.done_time = None
        self.write(run, run.task.save)

    @rule(run=runs)
    def before_a_proxy_step(self, run):
        self.write(run, partial(transitions.save_step, run.task))

    @precondition(lambda self: any(run.has_a_step_left() for run in self.alive))
    @rule(run=runs.filter(Run.has_a_step_left))
    def next_step(self, run):
        if self.write(run, partial(transitions.start_step, run.task, run.step + 1)):
            run.step += 1
            run.row.start_step(run.step)

    @rule(run=runs)
    def finish(self, run):
        while run.holds() and run.has_a_step_left():
            self.next_step(run)
        call = partial(transitions.finish, run.task)
        if self.write(run, call, codes.FINISH_NOT_SAVED):
            run.row.end(success=True)
            run.is_over = True

    @rule(run=runs)
    def fail(self, run):
        call = partial(transitions.fail, run.task, ValueError("as told"))
        if self.write(run, call, codes.FINISH_NOT_SAVED):
            run.row.end(success=False)
            run.is_over = True

    @rule(run=consumes(runs))
    def lose(self, run):
        """The worker dies: its row stays as it is until the lease is over."""
        self.alive.remove(run)

    # -- whole runs: a message, and the HTTP API's one step ------------------------

    AHEAD = st.sampled_from([1, 1, 1, 0, 2, -1])  # which step to post: the next, mostly
    ACTS = ["nothing", "note", "fail", "reset", "reset and save"]

    def handler(self, task, payload):
        """Do what an event has its first handler do: one of the acts."""
        act, self.act = self.act, "nothing"
        others = type(task).objects.using(self.using).filter(pk=task.pk)
        if act in ("note", "fail"):
            task.note = self.note
        if act == "fail":
            raise ValueError("as told")
        if act == "delete":
            others.delete()
        if act in ("reset", "reset and save"):
            others.get().reset()
            task.note = "late"
        if act == "reset and save":
            task.save()

    def handled(self, row, act, last):
        """Tell the model what a handler did; return the code of its step."""
        self.act, self.note = act, f"note {next(self.numbers)}"
        if act == "delete":
            row.gone = True
        if act in ("reset", "reset and save"):
            row.reset()
        if act in ("reset", "delete"):
            return codes.FINISH_NOT_SAVED if last else codes.STEP_NOT_SAVED
        if act == "reset and save":
            return codes.STEP_NOT_SAVED
        if act in ("note", "fail"):
            row.note = self.note
        row.mod_time = Now()
        if act == "fail":
            row.end(success=False)
            return codes.HANDLER_FAILED
        if last:
            row.end(success=True)
        return None

    @rule(row=rows, act=st.sampled_from(ACTS))
    def message_arrives(self, row, act):
        """The row's message, for the first time or again, runs all that is to run."""
        last = row.model.final_step
        refused = row.why_not()
        if refused:
            envelope = tasks.do_task(**message_of(row.known))
            assert envelope["error"]["code"] == refused
            return
        row.claim()
        code = self.handled(row, act, last == 1)
        if code is None and last > 1:
            for step in range(2, last + 1):
                row.start_step(step)
            row.end(success=True)
        if code and row.gone:  # its run ends, and that is no failure
            assert tasks.do_task(**message_of(row.known))["error"]["code"] == code
            return
        self.told(code, tasks.do_task, **message_of(row.known))

    @rule(row=rows, ahead=AHEAD, act=st.sampled_from(ACTS), again=st.booleans())
    def step_by_http(self, row, ahead, act, again):
        """A caller who drives the steps himself; no claim travels with the call."""
        self.post_step(row, ahead, act)
        if again:
            self.post_step(row, 0, "nothing")

    @rule(row=rows, ahead=AHEAD, act=st.sampled_from(ACTS))
    def step_by_force(self, row, ahead, act):
        self.post_step(row, ahead, act, force=True)

    def post_step(self, row, ahead, act, force=False):
        step = max(1, (row.current_step or 0) + ahead)
        last = step == row.model.final_step
        code = row.why_not() if step == 1 else row.why_no_step(step)
        if force and not row.gone:
            code = None
        if step > row.model.final_step:
            code = codes.NO_HANDLER
        if code is None:
            if step == 1 or force:
                row.claim()
            if step > 1:
                row.start_step(step)
            code = self.handled(row, act, last)
        result = self.told(code, row.known.do_task, {"step": step}, force=force)
        assert code or result == {
            "continue_flag": not last,
            "task_info": f"{row.model._meta.label_lower}:{row.pk}",
            "next_step": step + 1,
            "data": None,
        }

    @rule(target=deleted, row=consumes(rows), by_http=st.booleans())
    def handler_deletes_its_row(self, row, by_http):
        if row.why_not():
            self.stored(row).delete()
            row.gone = True
        elif by_http:
            self.post_step(row, 1, "delete")
        else:
            self.message_arrives(row, "delete")
        return row

    @rule(row=rows)
    def reserve(self, row):
        """The HTTP API hands the row out, to one caller."""
        free = row.status == READY and not row.reserved
        assert claiming.reserve(row.model, self.using, row.pk) is free
        if free:
            row.reserved, row.start_time = True, Now()

    # -- an operator ---------------------------------------------------------------

    @rule(row=rows)
    def operator_resets(self, row):
        self.load(row).reset()
        row.reset()

    @rule(row=rows)
    def operator_resets_and_publishes(self, row):
        self.load(row).reset().publish()
        row.reset()

    @rule(row=rows, force=st.booleans())
    def operator_starts(self, row, force):
        may = force or row.status == READY
        assert self.load(row).start(force) is may
        if may:
            row.claim()

    @rule(row=rows, force=st.booleans())
    def operator_marks_done(self, row, force):
        may = force or row.status == DOING
        assert self.load(row).done(force) is may
        if may:
            row.end(row.success)  # who calls done() says how it ended
            self.post_step(row, 1, "nothing")  # by who drove its steps until now

    @rule(row=rows)
    def others_change_a_field(self, row):
        self.change_a_field(row)

    @rule(run=runs)
    def others_change_a_field_and_the_handler_saves(self, run):
        """Which does not undo it."""
        self.change_a_field(run.row)
        self.handler_saves(run)

    def change_a_field(self, row):
        row.other = next(self.numbers)
        name = "other" if row.model is Job else "url"
        self.stored(row).update(**{name: row.other})

    # -- time goes by, and what was lost is found ----------------------------------

    @rule(row=rows)
    def lease_ends(self, row):
        self.end_lease(row)

    def end_lease(self, row):
        if row.auto_reset_time is not None:
            row.auto_reset_time = timezone.now() - datetime.timedelta(seconds=1)
            self.stored(row).update(auto_reset_time=row.auto_reset_time)

    @rule(row=rows)
    def lease_ends_and_auto_reset_runs(self, row):
        self.end_lease(row)
        self.run_auto_reset(row.model)

    @rule(target=runs, run=runs)
    def lease_ends_and_another_worker_claims(self, run):
        """A slow run: it lives on, and another has its row."""
        self.end_lease(run.row)
        self.run_auto_reset(run.row.model)
        return multiple(*self.claimed(run.row))

    @rule(model=st.sampled_from([Job, Steps]))
    def auto_reset(self, model):
        self.run_auto_reset(model)

    def run_auto_reset(self, model):
        stale = [r for r in self.table if r.model is model and not r.gone and r.is_unchanged()]
        if not stale:
            assert model.do_auto_reset() == 0
            return
        queued()  # what waits in a queue may be left there: these are lost messages
        count = model.do_auto_reset()
        found = [row for row in stale if not self.may_be_waiting(row) and row.auto_reset()]
        assert count == len(found)
        published = {message["id"] for message in queued()}
        assert published >= {row.pk for row in found}

    def may_be_waiting(self, row):
        """Tell whether a READY row was left alone, as one still in a queue may be."""
        waited = row.status == READY and row.auto_reset_time is not None
        return waited and self.load(row).auto_reset_time == row.auto_reset_time

    # -- what holds after every event ----------------------------------------------

    @invariant()
    def every_column_is_as_the_model_says(self):
        for model in (Job, Steps):
            stored = {row["id"]: row for row in self.objects(model).values()}
            rows = [r for r in self.table if r.model is model and not r.gone]
            assert stored.keys() == {row.pk for row in rows}
            for row in rows:
                self.compare(row, stored[row.pk])
        self.began = timezone.now()

    def compare(self, row, stored):
        for name in COLUMNS:
            expected, value = getattr(row, name), stored[name]
            if isinstance(expected, Now):
                assert expected.is_in(value, self.began, timezone.now()), name
                setattr(row, name, value)  # from now on it is this
            else:
                assert (name, value) == (name, expected)
        assert str(stored["other" if row.model is Job else "url"]) == str(row.other)

    @invariant()
    def a_row_has_one_run_that_may_write(self):
        holders = [run.row for run in self.alive if run.holds()]
        assert len(holders) == len(set(holders))

    @invariant()
    def a_status_has_its_times(self):
        for row in self.table:
            if row.status == READY:
                assert row.reserved == (row.start_time is not None)
                assert (row.step1_time, row.done_time, row.success) == (None, None, None)
            elif row.status == DOING:
                assert row.start_time and row.step1_time and row.auto_reset_time
            else:
                assert row.done_time and row.auto_reset_time is None


@override_settings(DJANGO_SIMPLETASK2_MAX_LOST_RUNS=MOST_LOST)
def test_rows_do_what_the_model_does(using, monkeypatch):
    monkeypatch.setattr(handlers, "told", None, raising=False)
    examples, events = EXAMPLES[using]
    run_state_machine_as_test(
        partial(Machine, using),
        settings=settings(
            max_examples=examples,
            stateful_step_count=events,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_run_may_write_what_a_field_held_when_it_was_claimed(using):
    row = Job.objects.using(using).create(note="as created")
    run = claiming.claim(Job, using, row.pk)
    run.note = "half way"
    run.save()
    run.note = "as created"
    transitions.finish(run)
    row.refresh_from_db()
    assert row.note == "as created"
