"""What operators, others and time do to rows, whoever runs them."""

import datetime

from django.utils import timezone
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, multiple, rule

from tests.proofs.state_machine.rows import DOING, READY
from tests.support.fixtures import queued

ROWS, DELETED, RUNS = Bundle("rows"), Bundle("deleted"), Bundle("runs")


class Outside:
    """A part of the machine: its rules need the machine's own methods."""

    rows, runs = ROWS, RUNS

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
            row.start()

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
        if name := self.other.get(row.model):
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

    @rule(kind=st.integers(0, 2))
    def auto_reset(self, kind):
        self.run_auto_reset(self.models[kind])

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
        assert published >= {row.pk for row in found if row.has_a_message()}

    def may_be_waiting(self, row):
        """Tell whether a READY row was left alone, as one still in a queue may be."""
        waited = row.status == READY and row.auto_reset_time is not None
        return waited and self.load(row).auto_reset_time == row.auto_reset_time
