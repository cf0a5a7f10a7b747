"""A task with a memory: attempts, errors, a result, a time to start, and steps that resume.

``SimpleTask`` keeps the eleven columns of the original, so it remembers none of these. A model
moves over by its base class and a migration that adds columns; rows that wait or run meanwhile
go on. What is written when stands in ``rows.memory``.
"""

import datetime
from typing import Any, ClassVar, NoReturn, Self

from asgiref.sync import sync_to_async
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..publishing import publisher
from ..rows import clock, fence, memory, rescheduling, states
from ..running import cancelling, retries, steps
from .simple import SimpleTask

_alters_data = steps.marked(alters_data=True)


class DurableTask(SimpleTask):
    """A task whose rows remember. Subclass it as SimpleTask; the options below are its own."""

    run_after = models.DateTimeField(
        _("Run After"),
        null=True,
        blank=True,
        help_text=_("Before which time the task does not run."),
    )
    attempts = models.PositiveIntegerField(_("Attempts"), default=0, db_default=0, editable=False)
    lost_attempts = models.PositiveIntegerField(
        _("Lost Attempts"), default=0, db_default=0, editable=False
    )
    errors = models.JSONField(_("Errors"), default=list, null=True, blank=True, editable=False)
    return_value = models.JSONField(_("Return Value"), null=True, blank=True, editable=False)
    worker = models.CharField(
        _("Worker"), max_length=memory.LONGEST_NAME, null=True, blank=True, editable=False
    )
    celery_id = models.CharField(
        _("Celery Id"), max_length=memory.LONGEST_NAME, null=True, blank=True, editable=False
    )
    completed_step = models.PositiveIntegerField(
        _("Completed Step"), default=0, db_default=0, editable=False
    )
    pending_request = models.JSONField(_("Pending Request"), null=True, blank=True, editable=False)

    #: Celery's options of a task, with Celery's meaning and defaults ("Automatic retry for known
    #: exceptions" of its documentation). Times in seconds.
    autoretry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    dont_autoretry_for: ClassVar[tuple[type[BaseException], ...]] = ()
    max_retries: ClassVar[int | None] = 3
    default_retry_delay: ClassVar[float] = 180
    retry_backoff: ClassVar[bool | float] = False
    retry_backoff_max: ClassVar[float] = 600
    retry_jitter: ClassVar[bool] = True

    #: Whether an attempt goes on after the last completed step, instead of at the first.
    resume: ClassVar[bool] = False
    #: Whether each step commits together with what its handler writes to the row's database.
    atomic_steps: ClassVar[bool] = False

    _is_durable = True
    _state_fields = states.STATE_FIELDS | memory.FIELDS

    class Meta:
        abstract = True

    # -- saving ------------------------------------------------------------------------

    def _narrow(self, base_qs: Any, using: str, values: list[Any]) -> tuple[Any, list[Any]]:
        """As of Row; with another ``run_after`` also when auto-reset looks at a READY row."""
        base_qs, values = super()._narrow(base_qs, using, values)
        if self._saving is not None and fence.around(self, using) is None:
            more = rescheduling.with_look(self, base_qs.model, values)
            if more is not None:
                values, self._saving.is_rescheduled = more, True
        return base_qs, values

    def _was_rescheduled(self, publish: bool) -> None:
        row = rescheduling.ready_row(self)
        if publish and row is not None:  # its message has another time, or was never sent
            publisher.publish_on_commit([row], leave_out=True, using=self._state.db)

    # -- inside a handler --------------------------------------------------------------

    def retry(
        self,
        exc: BaseException | None = None,
        countdown: float | None = None,
        eta: datetime.datetime | None = None,
        max_retries: int | None = None,
    ) -> NoReturn:
        """End this attempt of a handler, and have the row run again later.

        As ``Task.retry`` of Celery, whose exception this raises: ``exc`` is the reason, by default
        the exception that is being handled; ``countdown`` (seconds) or ``eta`` (datetime) say
        when, by default as ``retry_backoff`` and ``default_retry_delay`` do; ``max_retries`` takes
        the place of the model's. Where the retries are used up, the row fails for ``exc``.

        Raises RuntimeError outside of a run, and TypeError or ValueError for other values.
        """
        retries.ask(self, exc, countdown, eta, max_retries)

    def is_claimed(self) -> bool:
        """Tell whether this run has its row still: a long handler may end early where not.

        One query. False outside of a run.
        """
        return fence.is_held(self)

    # -- from outside ------------------------------------------------------------------

    @_alters_data
    def cancel(self, terminate: bool = False) -> bool:
        """End a row that is READY or DOING: DONE, success False, its last error "cancelled".

        A run under way loses its claim, and writes nothing any more. With ``terminate`` Celery is
        asked to raise SoftTimeLimitExceeded in its handler, which children of a prefork pool do
        alone; of a message with a chunk of rows, it ends the rest as well. Returns False for a row
        that is DONE or gone. Raises ValueError for a row that is not saved, and RuntimeError
        in a handler of the row's own.
        """
        return cancelling.cancel(self, terminate)

    @_alters_data
    async def acancel(self, terminate: bool = False) -> bool:
        """Cancel the row from async code: see :meth:`cancel`."""
        return await sync_to_async(self.cancel)(terminate=terminate)

    @_alters_data
    def reset(self, save: bool = True, resume: bool = False) -> Self:
        """Make the row READY again, as if it had never run, and return it.

        With ``resume`` it goes on after its last completed step, if the model's ``resume`` is
        True. Otherwise as of SimpleTask.
        """
        now = timezone.now()
        values = states.reset(now, clock.after(now, self.get_task_wait_timeout()))
        return self._reset(memory.forgotten(type(self), values, resume), save)

    @_alters_data
    async def areset(self, save: bool = True, resume: bool = False) -> Self:
        """Make the row READY again from async code: see :meth:`reset`."""
        return await sync_to_async(self.reset)(save=save, resume=resume)
