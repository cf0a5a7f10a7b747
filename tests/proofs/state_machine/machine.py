"""What workers and messages do to rows: each event, and what the model says of it."""

import itertools
from functools import partial

import pytest
from celery.exceptions import Retry
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from simpletask2_celery import exceptions as codes
from simpletask2_celery import tasks
from simpletask2_celery.exceptions import ClaimLost, DjangoSimpleTask2Error
from simpletask2_celery.rows import claiming, transitions
from tests.proofs.state_machine.outside import DELETED, ROWS, RUNS, Outside
from tests.proofs.state_machine.rows import DOING, DONE, READY, WAIT, Now, Row, Run
from tests.support.fixtures import message_of, queued
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import Job, Steps

MOST = 3  # rows at a time


class Failed(Exception):
    """What a handler raises to fail."""


class Machine(Outside, RuleBasedStateMachine):
    rows, deleted, runs = ROWS, DELETED, RUNS
    models = (Steps, Steps, Job)  # of new rows, as likely as they are here
    row = Row
    other = {Job: "other", Steps: "url"}  # columns that others write

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
        for model in {*self.models}:
            self.objects(model).all().delete()
        queued()

    def objects(self, model):
        return model.objects.using(self.using)

    def load(self, row):
        return self.objects(row.model).get(pk=row.pk)

    def stored(self, row):
        return self.objects(row.model).filter(pk=row.pk)

    def told(self, code, call, *args, **kwargs):
        """Call; who calls must be told ``code``, or nothing, or Celery's Retry."""
        if code is None:
            return call(*args, **kwargs)
        with pytest.raises(Retry if code is Retry else DjangoSimpleTask2Error) as caught:
            call(*args, **kwargs)
        assert code is Retry or caught.value.code == code
        return None

    # -- rows come and go ----------------------------------------------------------

    def new(self, model, bulk, **fields):
        fields["what"] = "told"
        if name := self.other.get(model):
            fields[name] = "0"
        if bulk:
            self.objects(model).bulk_create([model(**fields)])
            wait = None
        else:
            self.objects(model).create(**fields)
            wait = Now(WAIT)
        known = self.objects(model).latest("pk")
        self.table.append(self.row(model, known.pk, known, wait))
        return self.table[-1]

    @initialize(target=rows)
    def first_rows(self):
        return multiple(*(self.new(model, bulk=False) for model in {*self.models}))

    @precondition(lambda self: sum(not row.gone for row in self.table) < MOST)
    @rule(target=rows, kind=st.integers(0, 2), bulk=st.booleans())
    def create(self, kind, bulk):
        return self.new(self.models[kind], bulk)

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
            row.claim(resume=not force)
            self.alive.append(Run(row, task, row.claims, row.current_step))
            yield self.alive[-1]

    def write(self, run, call, code=codes.STEP_NOT_SAVED, keeps=True):
        """Let the run write, and its note if it keeps that; True if it could: it has its claim."""
        if not run.holds():
            with pytest.raises(ClaimLost) as caught:
                call()
            assert caught.value.code == code
            return False
        call()
        run.row.mod_time = Now()
        if keeps:
            run.row.keep(run.note)
        return True

    def completed(self, run, request=None):
        """Return what a worker writes of a completed step beside its transition."""
        return {}

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
        call = partial(transitions.fail, run.task, Failed("as told"))
        if self.write(run, call, codes.FINISH_NOT_SAVED, keeps=False):
            run.row.fail(run.note)
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
            raise Failed("as told")
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
        row.mod_time = Now()
        if act == "fail":
            row.fail(self.note)
            return codes.HANDLER_FAILED
        if act == "note":
            row.note = self.note
        if last:
            row.end_last_step()
        else:
            row.complete(row.current_step)
        return None

    @rule(row=rows, act=st.sampled_from(ACTS))
    def message_arrives(self, row, act):
        """The row's message, for the first time or again, runs all that is to run."""
        refused = row.why_not()
        if refused:
            envelope = tasks.do_task(**message_of(row.known))
            assert envelope["error"]["code"] == refused
            return
        row.claim()
        code = self.run_as_told(row, act)
        if code and row.gone:  # its run ends, and that is no failure
            assert tasks.do_task(**message_of(row.known))["error"]["code"] == code
            return
        self.told(code, tasks.do_task, **message_of(row.known))

    def run_as_told(self, row, act):
        """Tell the model that the first handler of a run did so; return the run's code."""
        last = row.model.final_step
        code = self.handled(row, act, row.current_step == last)
        while code is None and row.status == DOING:
            row.start_step(row.current_step + 1)
            if row.current_step == last:
                row.end_last_step()
            else:
                row.complete(row.current_step)
        return code

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
                row.claim(resume=False)
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
        if row.why_not() or (not by_http and getattr(row.model, "atomic_steps", False)):
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
        free = row.why_not() is None and not row.reserved
        assert claiming.reserve(row.model, self.using, row.pk) is free
        if free:
            row.reserved, row.start_time = True, Now()

    # -- what holds after every event ----------------------------------------------

    @invariant()
    def every_column_is_as_the_model_says(self):
        for model in {*self.models}:
            stored = {row["id"]: row for row in self.objects(model).values()}
            rows = [r for r in self.table if r.model is model and not r.gone]
            assert stored.keys() == {row.pk for row in rows}
            for row in rows:
                self.compare(row, stored[row.pk])
        self.began = timezone.now()

    def compare(self, row, stored):
        for name in row.columns:
            expected, value = getattr(row, name), stored[name]
            if isinstance(expected, Now):
                assert expected.is_in(value, self.began, timezone.now()), name
                setattr(row, name, value)  # from now on it is this
            else:
                assert (name, value) == (name, expected)
        if name := self.other.get(row.model):
            assert str(stored[name]) == str(row.other)

    @invariant()
    def a_row_has_one_run_that_may_write(self):
        holders = [run.row for run in self.alive if run.holds()]
        assert len(holders) == len(set(holders))

    @invariant()
    def a_status_has_its_times(self):
        for row in self.table:
            if row.status == READY:
                assert row.reserved == (row.start_time is not None)
                assert row.is_clean()
            elif row.status == DOING:
                assert row.start_time and row.step1_time and row.auto_reset_time
            else:
                assert row.done_time and row.auto_reset_time is None
