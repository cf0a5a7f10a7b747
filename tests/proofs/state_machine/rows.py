"""A row as section 3 of the compatibility page has it, without a database."""

import datetime
from dataclasses import dataclass

from django.utils import timezone

from simpletask2_celery import exceptions as codes

READY, DOING, DONE = 10, 20, 30
WAIT = LEASE = 300
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

    columns = COLUMNS

    def claim(self, resume=True):
        self.status = DOING
        self.start_time = self.step1_time = self.mod_time = Now()
        self.current_step = 1
        self.auto_reset_time = Now(LEASE)
        self.reserved = False
        self.claims += 1

    def start(self):
        """As who calls start() claims it."""
        self.claim(resume=False)

    def start_step(self, step):
        self.current_step = step
        self.mod_time = Now()
        if step <= 3:  # steps above have no column
            setattr(self, f"step{step}_time", Now())

    def complete(self, step):
        """A step has ended; a row without a memory forgets it."""

    def end_last_step(self):
        self.end(success=True)

    def fail(self, note):
        """End by the error of a handler that has left this note."""
        self.keep(note)
        self.end(success=False)

    def keep(self, note):
        if note is not None:
            self.note = note

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

    def is_clean(self):
        """Tell whether a READY row has nothing of an earlier run."""
        return (self.step1_time, self.done_time, self.success) == (None, None, None)

    def auto_reset(self):
        """Return whether it is READY again: a row that loses too many runs is given up."""
        lost = self.lost + (self.status == DOING)
        if self.status == DOING and lost >= MOST_LOST:
            self.end(success=False)
        else:
            self.reset()
        self.lost = lost
        return self.status == READY

    def has_a_message(self):
        """Tell whether a READY row is published: one without a time always is."""
        return True

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
    has_asked: bool = False  # for a proxy request, whose answer is the next step's

    def holds(self):
        row = self.row
        return not row.gone and row.status == DOING and row.claims == self.claim

    def has_a_step_left(self):
        return self.step < self.row.model.final_step
