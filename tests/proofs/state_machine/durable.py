"""What happens to durable rows: all that happens to others, retries, times, steps that resume.

The handlers of ``AtomicSteps`` write a line of ``Ledger`` in the transaction of each step. A row
has exactly one line for each step that it has completed, after every event.
"""

import datetime
from functools import partial

from celery.exceptions import Retry
from django.db import connections
from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import invariant, multiple, rule

from simpletask2_celery import exceptions as codes
from simpletask2_celery.rows import memory, transitions
from simpletask2_celery.rows.announcing import Ended
from tests.proofs.state_machine.durable_rows import ASKED, DurableRow
from tests.proofs.state_machine.machine import Failed, Machine
from tests.proofs.state_machine.outside import ROWS, RUNS
from tests.proofs.state_machine.rows import DOING, DONE, READY, Now
from tests.support.project.jobs.models import AtomicSteps, DurableJob, DurableSteps, Ledger

TIMES = st.sampled_from([0, 600, 3600])  # seconds ahead: due, carried by a message, by the row
RAISED = ("ValueError", "KeyError")  # the one is in autoretry_for, the other asks
REQUEST = {"method": "GET", "url": "http://127.0.0.1:1/"}  # where nobody answers


class DurableMachine(Machine):
    models = (DurableJob, DurableSteps, AtomicSteps)
    row = DurableRow
    other = {DurableSteps: "url", AtomicSteps: "url"}

    def teardown(self):
        super().teardown()
        Ledger.objects.using(self.using).all().delete()

    # -- the writes of a run -------------------------------------------------------

    def completed(self, run, request=None):
        """Return what a worker writes of a completed step beside its transition."""
        return memory.completed(run.task, run.step, request)

    @rule(run=RUNS)
    def before_a_proxy_step(self, run):
        if not run.has_a_step_left() or run.has_asked:
            return
        more = self.completed(run, REQUEST)
        if self.write(run, partial(transitions.save_step, run.task, more=more)):
            run.row.complete(run.step, REQUEST)
            run.has_asked = True

    @rule(run=RUNS)
    def next_step(self, run):
        if not run.has_a_step_left():
            return
        more = {} if run.has_asked else self.completed(run)
        call = partial(transitions.start_step, run.task, run.step + 1, more=more)
        if self.write(run, call):
            if not run.has_asked:
                run.row.complete(run.step)
            run.step, run.has_asked = run.step + 1, False
            run.row.start_step(run.step)

    @rule(run=RUNS)
    def finish(self, run):
        while run.holds() and run.has_a_step_left():
            self.next_step(run)
        is_completed = run.step > run.row.model.final_step  # before this run
        ended = None if is_completed else Ended(run.step, 0.0, {"n": run.step})
        call = partial(transitions.finish, run.task, ended)
        if self.write(run, call, codes.FINISH_NOT_SAVED):
            if is_completed:
                run.row.end_completed()
            else:
                run.row.end_last_step({"n": run.step})
            run.is_over = True

    @rule(run=RUNS)
    def fail(self, run):
        error = Failed("as told")
        call = partial(transitions.fail, run.task, error, Ended(run.step, 0.0, error=error))
        if self.write(run, call, codes.FINISH_NOT_SAVED, keeps=False):
            run.row.fail(run.note, step=run.step)
            run.is_over = True

    @rule(run=RUNS, seconds=TIMES)
    def retry_later(self, run, seconds):
        moment = timezone.now() + datetime.timedelta(seconds=seconds)
        error = ValueError("not yet")
        ended = Ended(run.step, 0.0, error=error)
        call = partial(transitions.retry, run.task, error, moment, ended)
        if self.write(run, call, keeps=False):
            run.row.retry(seconds, "ValueError", run.step)
            run.is_over = True

    # -- whole runs ------------------------------------------------------------------

    is_by_message = False

    @rule(row=ROWS, act=st.sampled_from([*RAISED]))
    def message_of_an_attempt_arrives(self, row, act):
        self.message_arrives(row, act)

    @rule(row=ROWS, ahead=Machine.AHEAD, act=st.sampled_from([*RAISED]))
    def attempt_by_http(self, row, ahead, act):
        self.post_step(row, ahead, act)

    def handler(self, task, payload):
        if connections[self.using].in_atomic_block:  # the step's own
            line = {"job": task.get_task_info(), "process": str(payload["step"])}
            Ledger.objects.using(self.using).create(**line)
        act = self.act
        super().handler(task, payload)
        if act in RAISED:
            task.note = self.note
            if act == "KeyError":
                task.retry(KeyError("not yet"), countdown=ASKED)
            raise ValueError("not yet")

    def run_as_told(self, row, act):
        first = row.current_step
        if first > row.model.final_step:  # no handler runs
            row.end_completed()
            return None
        self.is_by_message = True
        code = super().run_as_told(row, act)
        self.is_by_message = False
        if row.model is AtomicSteps:
            row.effects += range(first, row.completed_step + 1)
        return code

    def handled(self, row, act, last):
        if act in RAISED:
            self.act, self.note = act, f"note {next(self.numbers)}"
            row.mod_time = Now()
            code = row.handler_raised(act, self.note)
            return codes.HANDLER_FAILED if code is Retry and not self.is_by_message else code
        if row.model is AtomicSteps and self.is_by_message and act.startswith("reset"):
            return self.rolled_back(row, act, last)
        return super().handled(row, act, last)

    def rolled_back(self, row, act, last):
        """Tell the model that a handler has reset its row, in the transaction of its step."""
        self.act, self.note = act, "late"
        if act == "reset":  # the end finds the claim lost; without the reset, the row has it still
            return codes.FINISH_NOT_SAVED if last else codes.STEP_NOT_SAVED
        row.mod_time = Now()
        row.fail(None, "ClaimLost")  # the handler's own error, from its own save
        return codes.HANDLER_FAILED

    # -- from outside ----------------------------------------------------------------

    @rule(row=ROWS)
    def cancel(self, row):
        may = row.status in (READY, DOING)
        assert self.load(row).cancel() is may
        if may:
            row.mod_time = Now()
            row.cancel()

    @rule(row=ROWS)
    def operator_resets_and_resumes(self, row):
        self.load(row).reset(resume=True)
        row.reset(resume=True)

    @rule(row=ROWS, seconds=TIMES)
    def publish_later(self, row, seconds):
        self.load(row).publish(countdown=seconds)
        if row.status == READY:
            row.postpone(seconds)

    @rule(target=ROWS, kind=st.integers(0, 2), seconds=TIMES)
    def create_for_later(self, kind, seconds):
        if sum(not row.gone for row in self.table) > 3:
            return multiple()
        at = timezone.now() + datetime.timedelta(seconds=seconds)
        row = self.new(self.models[kind], bulk=False, run_after=at)
        row.postpone(seconds)
        return row

    @rule(row=ROWS)
    def time_comes(self, row):
        if row.run_after is not None:
            row.run_after = timezone.now() - datetime.timedelta(seconds=1)
            self.stored(row).update(run_after=row.run_after)

    # -- what holds after every event --------------------------------------------------

    def compare(self, row, stored):
        super().compare(row, stored)
        errors = stored["errors"] or []
        kinds = [
            (one["attempt"], one["step"], one["exception_class_path"].rpartition(".")[2])
            for one in errors
        ]
        assert kinds == row.errors

    @invariant()
    def what_atomic_steps_wrote_is_there_exactly_once(self):
        lines = Ledger.objects.using(self.using).values_list("job", "process")
        expected = [
            (f"jobs.atomicsteps:{row.pk}", str(step)) for row in self.table for step in row.effects
        ]
        assert sorted(lines) == sorted(expected)

    @invariant()
    def a_row_is_done_or_goes_on_after_its_completed_steps(self):
        for row in self.table:
            assert 0 <= row.completed_step <= row.model.final_step
            if row.status == DONE and row.success:
                assert row.completed_step in (0, row.model.final_step)
