"""A durable row, without a database: ``rows.Row`` with a memory."""

import datetime
from dataclasses import dataclass, field

from celery.exceptions import Retry
from django.utils import timezone

from simpletask2_celery import exceptions as codes
from tests.proofs.state_machine.rows import COLUMNS, DOING, MOST_LOST, WAIT, Now, Row

SOON = 15 * 60  # seconds ahead for which a message carries the time
MOST_RETRIES = 3
ASKED = 600  # seconds after which a handler asks to be tried again


@dataclass(eq=False)
class DurableRow(Row):
    """What each transition writes to a row that remembers."""

    run_after: object = None
    attempts: int = 0
    lost_attempts: int = 0
    return_value: object = None
    worker: object = None
    celery_id: object = None  # these runs have no message of Celery's
    completed_step: int = 0
    pending_request: object = None
    errors: list = field(default_factory=list)  # (attempt, step, class) of each
    effects: list = field(default_factory=list)  # atomic steps whose writes are committed

    columns = (
        *COLUMNS,
        *("run_after", "attempts", "lost_attempts", "return_value", "worker", "celery_id"),
        *("completed_step", "pending_request"),
    )

    def is_due(self):
        at = self.run_after
        if isinstance(at, Now):
            return at.seconds <= 0
        return at is None or at <= timezone.now()

    def why_not(self):
        code = super().why_not()
        return codes.NOT_DUE if code is None and not self.is_due() else code

    def claim(self, resume=True):
        before = self.step1_time
        super().claim()
        self.attempts += 1
        if resume and self.model.resume:
            self.step1_time = before
            self.start_step(self.completed_step + 1)
        else:
            self.completed_step, self.pending_request = 0, None

    def start(self):
        super().claim()

    def complete(self, step, request=None):
        self.completed_step = step
        if self.model.resume:
            self.pending_request = request

    def end_last_step(self, returned=None):
        self.complete(self.model.final_step)
        self.return_value = returned
        self.end(success=True)

    def end_completed(self):
        """End a row whose steps were all completed before this run."""
        self.current_step = self.model.final_step
        self.end(success=True)

    def fail(self, note, kind="Failed", step=None):
        """Of a row that resumes, the fields stay as the last completed step has left them."""
        if not self.model.resume:
            self.keep(note)
        self.remember(kind, step)
        self.end(success=False)

    def remember(self, kind, step=None):
        step = self.current_step if step is None else step
        self.errors = [*self.errors, (self.attempts, step, kind)][-10:]

    def may_retry(self):
        return max(0, self.attempts - 1 - self.lost_attempts) < MOST_RETRIES

    def retry(self, seconds, kind, step=None):
        """Try again in so many seconds."""
        self.remember(kind, step)
        self.be_ready(keep=self.model.resume)
        self.postpone(seconds)

    def postpone(self, seconds):
        self.run_after = Now(seconds)
        self.auto_reset_time = Now(seconds if seconds > SOON else seconds + WAIT)

    def be_ready(self, keep):
        """Be READY; ``keep`` the times of the steps, where they may be gone on with."""
        times = self.step1_time, self.step2_time, self.step3_time
        super().reset()
        if keep:
            self.step1_time, self.step2_time, self.step3_time = times

    def reset(self, resume=False):
        self.be_ready(keep=resume)
        self.run_after = self.return_value = None
        self.attempts = self.lost_attempts = 0
        self.errors = []
        if not resume:
            self.completed_step, self.pending_request = 0, None

    def cancel(self):
        self.remember("Cancelled", self.current_step or 0)
        self.end(success=False)

    def auto_reset(self):
        self.lost_attempts += self.status == DOING
        if self.status == DOING and self.lost_attempts >= MOST_LOST:
            self.remember("WorkerLostError")
            self.end(success=False)
            return False
        self.be_ready(keep=self.model.resume)
        if not self.is_due():
            self.auto_reset_time = self.look()
        return True

    def look(self):
        """Return when auto-reset looks at a row that waits for its time."""
        wait = datetime.timedelta(seconds=WAIT)
        return self.run_after if self.is_kept_by_row() else self.run_after + wait

    def is_kept_by_row(self):
        ahead = self.run_after - timezone.now() if self.run_after else datetime.timedelta()
        return ahead.total_seconds() > SOON

    def has_a_message(self):
        return not self.is_kept_by_row()

    def is_clean(self):
        return (self.done_time, self.success) == (None, None)

    def handler_raised(self, kind, note):
        """Tell what follows from an error of a handler; return what its caller is told."""
        if self.may_retry():
            self.retry(ASKED if kind == "KeyError" else self.model.default_retry_delay, kind)
            return Retry
        self.fail(note, kind)
        return codes.HANDLER_FAILED
