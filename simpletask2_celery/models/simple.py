"""The base class of tasks: a row is the task, its fields the input, its methods the steps.

``SimpleTask`` is the package's table of contents: each verb is one call down into the rooms.
Sections 1–3 and 6 of the compatibility page. A row runs at least once: after a crash its
handlers run again, so they must be repeatable.
"""

import datetime
from collections.abc import Callable, Iterable
from typing import Any, Self

from asgiref.sync import sync_to_async
from celery.exceptions import Retry
from django.apps import apps
from django.core import checks
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import exceptions, signals
from ..indexes import AutoResetIndex, HistoryIndex
from ..publishing import publisher
from ..recovery import auto_reset, lost_runs
from ..rows import (
    announcing,
    claiming,
    clock,
    databases,
    deadline,
    due,
    fence,
    memory,
    querysets,
    seen,
    states,
    task_info,
    transitions,
)
from ..rows.model import Row
from ..running import steps

Announce = Callable[[Any], None]

_alters_data = steps.marked(alters_data=True)  # keeps Django's templates from calling it

# For type checkers the payload is required and has no name: users' handlers are written with a
# default and without one.
_Handler = Callable[[Any, Any], Any]
_missing: Callable[[_Handler], _Handler] = steps.marked(alters_data=True, is_missing=True)
_whole_task: Callable[[_Handler], _Handler] = steps.marked(alters_data=True, is_whole_task=True)


class SimpleTask(Row):
    """A task. Subclass it, give it fields and ``do_task_main``, and save rows of it."""

    SIMPLE_TASK_FIELDS = [
        "status",
        "success",
        "current_step_display",
        "add_time",
        "start_time",
        "auto_reset_time",
        "done_time",
        "mod_time",
        "step1_time",
        "step2_time",
        "step3_time",
    ]

    class Meta:
        abstract = True

    # -- the user's code ---------------------------------------------------------------

    @_missing
    def do_task_main(self, payload: Any = None) -> Any:
        """Do the task: the handler of a task with one step.

        ``payload`` is a dict with ``task_info`` (str) and ``step`` (int). Runs at least once.
        Raise an exception to end the row DONE with success False.
        """
        name = type(self).__name__
        raise NotImplementedError(f"{name} needs a method do_task_main(self, payload).")

    @_whole_task
    def do_task_main_step1(self, payload: Any = None) -> Any:
        """Do the first step; by default the whole task."""
        return self.do_task_main(payload)

    # -- publishing --------------------------------------------------------------------

    def _was_created(self) -> None:
        publisher.publish_on_commit([self], leave_out=True, using=self._state.db)

    @_alters_data
    def publish(
        self,
        countdown: float | None = None,
        eta: datetime.datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
    ) -> Self:
        """Send the row's message after the commit, and return the row.

        ``countdown`` in seconds or ``eta`` delay it, and auto-reset with it. A time further ahead
        than 15 minutes is kept by the row: auto-reset publishes it then, to its own queue.
        ``priority`` (int) and ``queue`` (str) are Celery's. For a row that is not READY this logs a
        warning and sends nothing: ``reset()`` it first.

        Raises ValueError for a row not saved yet, TypeError or ValueError for options that
        Celery would refuse, and RuntimeError for a row that its own handler has reset. A broker
        that fails raises nothing: auto-reset publishes the row again.
        """
        options = publisher.check_options(
            countdown=countdown, eta=eta, priority=priority, queue=queue
        )
        _require_saved([self])
        if self.status != self.READY:
            publisher.log_not_ready(self)
            return self
        _require_no_run([self])
        with deadline.shared():
            if countdown is not None or eta is not None:
                moment = clock.stored(eta or clock.after(timezone.now(), countdown or 0))
                transitions.postpone(self, moment)
                if due.is_kept_by_row(moment):
                    return self
                if self._is_durable:  # its message has the time of the row
                    del options["eta" if eta else "countdown"]
            publisher.publish_on_commit([self], **options)
        return self

    @_alters_data
    async def apublish(
        self,
        countdown: float | None = None,
        eta: datetime.datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
    ) -> Self:
        """Publish the row from async code: see :meth:`publish`."""
        return await sync_to_async(self.publish)(
            countdown=countdown, eta=eta, priority=priority, queue=queue
        )

    @_alters_data
    def push_to_mq(self) -> Self:
        """Publish the row: the old name of :meth:`publish`."""
        return self.publish()

    @classmethod
    @_alters_data
    def publish_many(cls, rows: "Iterable[Self] | models.QuerySet[Self]", chunk: int = 1) -> int:
        """Publish the READY rows among ``rows`` with one connection; return their number.

        For rows that no ``save()`` published, as of ``bulk_create``. With ``chunk``, for many
        short tasks, a message carries up to so many rows, which one process runs in turn.

        Before any row is published, raises TypeError for a row of another model, and
        ValueError for one without a primary key (on MySQL bulk_create leaves none: give a
        queryset) or for a chunk beside DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT. RuntimeError as of
        :meth:`publish`.
        """
        publisher.check_chunk(chunk)
        if isinstance(rows, models.QuerySet):
            if not issubclass(rows.model, cls):
                raise TypeError(f"{cls.__name__}.publish_many() got {rows.model!r}.")
            using = vars(rows)["_db"]  # None where nobody has named a database
            ready = querysets.light(rows.filter(status=cls.READY))
            stream = ready.iterator(chunk_size=querysets.PAGE)
            return publisher.publish_on_commit(stream, chunk, using=using)
        rows = list(rows)
        for row in rows:
            if not isinstance(row, cls):
                raise TypeError(f"{cls.__name__}.publish_many() got {row!r}.")
        _require_saved(rows)
        _require_no_run(rows)
        return publisher.publish_on_commit((r for r in rows if r.status == cls.READY), chunk)

    @classmethod
    @_alters_data
    async def apublish_many(
        cls, rows: "Iterable[Self] | models.QuerySet[Self]", chunk: int = 1
    ) -> int:
        """Publish rows from async code: see :meth:`publish_many`."""
        return await sync_to_async(cls.publish_many)(rows, chunk=chunk)

    # -- running -----------------------------------------------------------------------

    @_alters_data
    def do_task(self, payload: dict[str, Any] | None = None, force: bool = False) -> dict[str, Any]:
        """Run one step of the row, for a caller who drives the steps.

        The handler receives ``payload``, whose ``step`` (default 1) says which step it is.
        ``force`` runs the row in any status. Returns ``continue_flag``, ``task_info``,
        ``next_step`` and ``data`` (section 3 of the compatibility page). Raises
        DjangoSimpleTask2Error 2910004, 2910007–2910010 or 2910013–2910015.
        """
        payload = {"task_info": self.get_task_info(), "step": 1, **(payload or {})}
        step = payload["step"]
        steps.require_step(self, step)
        using = databases.of(self)
        claims = step == 1 or force
        if claims:
            row = claiming.claim(type(self), using, self.pk, force, resume=False)
        else:
            row = claiming.take_step(type(self), using, self.pk, step)
        vars(self).update(vars(row))  # the row as the database has it now, and its fence
        try:
            if claims:
                announcing.started(self)
            if step > 1 and force:
                transitions.start_step(self, step)
            ended = steps.call(self, step, payload)
            row = transitions.own_row(self)
            if step < self.final_step:
                transitions.save_step(row, ended, memory.completed(row, step))
            else:
                transitions.finish(row, ended)
            return steps.outcome(row, step, ended.data)
        except Retry as retry:  # whoever drives the steps hears that this attempt has failed
            name, handler = self.get_task_info(), task_info.handler(type(self), step)
            raise exceptions.handler_failed(name, handler, str(retry)) from retry
        finally:
            fence.lift(self)

    @_alters_data
    def start(self, force: bool = False, save: bool = True) -> bool:
        """Mark a READY row DOING; with ``force``, a row of any status.

        Returns False for a row of another status, and for one that ``get_a_task`` has handed
        out since it was loaded.
        """
        if not force and self.status != self.READY:
            return False
        now = clock.now(databases.of(self))
        values = states.claim(now, clock.after(now, self.get_do_task_timeout()))
        return self._change(values, None if force else self.READY, save, announcing.started)

    @_alters_data
    async def astart(self, force: bool = False, save: bool = True) -> bool:
        """Mark a READY row DOING from async code: see :meth:`start`."""
        return await sync_to_async(self.start)(force=force, save=save)

    @_alters_data
    def done(self, force: bool = False, save: bool = True) -> bool:
        """Mark a DOING row DONE; with ``force``, a row of any status.

        Returns False for a row of another status. ``success`` stays what the caller has set.
        """
        if not force and self.status != self.DOING:
            return False
        values = states.end(clock.now(databases.of(self)), self.success)
        return self._change(values, None if force else self.DOING, save, announcing.finished)

    @_alters_data
    async def adone(self, force: bool = False, save: bool = True) -> bool:
        """Mark a DOING row DONE from async code: see :meth:`done`."""
        return await sync_to_async(self.done)(force=force, save=save)

    @_alters_data
    def reset(self, save: bool = True) -> Self:
        """Make the row READY again, as if it had never run, and return it.

        Takes the claim from a run under way. Publish the row afterwards, or leave that to
        auto-reset.
        """
        now = timezone.now()
        values = states.reset(now, clock.after(now, self.get_task_wait_timeout()))
        return self._reset(values, save)

    def _reset(self, values: dict[str, Any], save: bool) -> Self:
        if not self._change(values, None, save, _announce_reset):
            name = task_info.text(type(self), self.pk)
            raise exceptions.error(exceptions.ROW_GONE, task_info=name)
        lost_runs.forget([self])
        return self

    @_alters_data
    async def areset(self, save: bool = True) -> Self:
        """Make the row READY again from async code: see :meth:`reset`."""
        return await sync_to_async(self.reset)(save=save)

    @classmethod
    @_alters_data
    def do_auto_reset(cls) -> int:
        """Reset and publish every row whose lease is over; return their number.

        Leaves READY rows alone whose message is presumed to wait in a long queue, and gives up
        rows that have lost too many runs. Raises a database's error after it has reset the rows
        of the others.
        """
        return auto_reset.reset_model(cls)

    def _change(
        self, values: dict[str, Any], status: int | None, save: bool, announce: Announce
    ) -> bool:
        """Make a transition that a caller asks for; False if it is not due any more.

        It is written at once and alone: the object may be older than what a handler has
        written, so the caller's other changes wait for ``save()``. Inside a run, and before
        the row is inserted, that save writes it as well.
        """
        is_in_run = fence.of(self) is not None
        if save and not is_in_run and not self._state.adding:
            if not transitions.change(self, values, status):
                return False
        else:
            for name, value in values.items():
                setattr(self, name, value)
            if save:
                self.save()
            elif not is_in_run:
                seen.forget(self, values)  # a save is to write them
        if save and not is_in_run:  # a run's transition is in the database at its end
            announce(self)
        return True

    # -- checks ------------------------------------------------------------------------

    @classmethod
    def check(cls, **kwargs: Any) -> list[checks.CheckMessage]:
        """Return Django's problems with the model, and E007 where the app is not installed."""
        problems = super().check(**kwargs)
        if not apps.is_installed("simpletask2_celery"):
            problems.append(
                checks.Error(
                    f'{cls.__name__} is a SimpleTask, and "simpletask2_celery" is not in '
                    "INSTALLED_APPS: no worker would know the task of its rows.",
                    'Add "simpletask2_celery" to INSTALLED_APPS.',
                    obj=cls,
                    id="simpletask2_celery.E007",
                )
            )
        return problems

    # -- the row in words --------------------------------------------------------------

    def channel_name(self) -> str:
        """Return the row's channel: the name of 0.0.5."""
        return self.get_channel_name()

    def final_step_number(self) -> int:
        """Return the number of the last step."""
        return self.final_step

    final_step_number.short_description = _("Final Step Number")  # type: ignore[attr-defined]

    # -- indexes -----------------------------------------------------------------------

    @classmethod
    def auto_reset_index(cls, name: str) -> AutoResetIndex:
        """Return an index for ``Meta.indexes`` that keeps auto-reset fast.

        ``name``, as "app_model", begins the index's name; one of over 24 characters raises
        ValueError. The schema of the original has no such index, so no model has it by itself.
        """
        return AutoResetIndex(fields=["status", "auto_reset_time"], name=_named(name, "reset"))

    @classmethod
    def history_index(cls, name: str) -> HistoryIndex:
        """Return an index for ``Meta.indexes`` that keeps the dashboard's history whole.

        The history is of the last hour and day. Without the index, on a table of more than
        100,000 rows, it is of the newest rows alone. ``name`` as of :meth:`auto_reset_index`.
        """
        fields = ["status", "success", "done_time"]
        return HistoryIndex(fields=fields, name=_named(name, "done"))


def _announce_reset(row: SimpleTask) -> None:
    announcing.reset([row], signals.OPERATOR)


def _require_saved(rows: Iterable[SimpleTask]) -> None:
    for row in rows:
        if row.pk is None or row._state.adding:
            raise ValueError(f"{row!r} has no row yet: save it before publishing it.")


def _require_no_run(rows: Iterable[SimpleTask]) -> None:
    for row in rows:
        if row.status == row.READY and fence.of(row) is not None:
            raise RuntimeError(
                f"{row.get_task_info()} is in its own run, at whose end it is DONE: its message "
                "would come for nothing. To run it again, let this run end, and call "
                "reset().publish() in a receiver of task_finished."
            )


def _named(name: str, suffix: str) -> str:
    if len(name) > 24:
        raise ValueError(f"{name!r} is over 24 characters: databases allow 30 in all.")
    return f"{name}_{suffix}"
