"""The base class of tasks: a row is the task, its fields the input, its methods the steps.

Compatibility facts, sections 1–3 and 6. A row runs at least once: after a crash its
handlers run again, so they must be repeatable.
"""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from typing import Any, Self, TypeVar

from django.db import models, router, transaction
from django.db.models.signals import post_save, pre_save
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import (
    clock,
    databases,
    deadline,
    exceptions,
    lost_runs,
    publisher,
    retrying,
    runtime_timeouts,
    savepoint,
    signals,
    state,
    statements,
    steps,
    task_info,
)
from .backlog import Backlog
from .conf import conf
from .fence import STATE_FIELDS, Fence, Seen, is_same
from .indexes import AutoResetIndex, HistoryIndex

F = TypeVar("F", bound=Callable[..., Any])


def _alters_data(method: F) -> F:
    """Keep templates from calling a method: "alters_data" of Django's template language."""
    method.alters_data = True  # type: ignore[attr-defined]
    return method


class SimpleTask(models.Model):
    """A task. Subclass it, give it fields and ``do_task_main``, and save rows of it."""

    READY = state.READY
    DOING = state.DOING
    DONE = state.DONE
    STATUS = [(READY, _("Ready")), (DOING, _("Doing")), (DONE, _("Done"))]

    add_time = models.DateTimeField(auto_now_add=True, verbose_name=_("Add Time"))
    mod_time = models.DateTimeField(auto_now=True, verbose_name=_("Modify Time"))
    status = models.IntegerField(
        choices=STATUS, default=READY, verbose_name=_("Status"), editable=False
    )
    start_time = models.DateTimeField(
        null=True, blank=True, verbose_name=_("Start Time"), editable=False
    )
    current_step = models.IntegerField(
        null=True, blank=True, verbose_name=_("Current Step"), editable=False
    )
    step1_time = models.DateTimeField(
        null=True, blank=True, verbose_name=_("Step1 start time"), editable=False
    )
    step2_time = models.DateTimeField(
        null=True, blank=True, verbose_name=_("Step2 start time"), editable=False
    )
    step3_time = models.DateTimeField(
        null=True, blank=True, verbose_name=_("Step3 start time"), editable=False
    )
    done_time = models.DateTimeField(
        null=True, blank=True, verbose_name=_("Done Time"), editable=False
    )
    success = models.BooleanField(
        null=True, verbose_name=_("Success Status"), editable=False
    )
    auto_reset_time = models.DateTimeField(
        null=True,
        blank=True,
        verbose_name=_("Auto Reset Time"),
        help_text=_("After which time the task should be reset."),
        editable=False,
    )

    #: Set by the user: the steps, and the timeouts in seconds.
    is_multi_steps = False
    final_step = 1
    do_task_timeout = 300
    task_wait_timeout = 300

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

    _fence: Fence | None = None
    _seen: Seen | None = None
    _saving: "_Saving | None" = None

    class Meta:
        abstract = True

    # -- the user's code ---------------------------------------------------------

    @_alters_data
    def do_task_main(self, payload: Any = None) -> Any:
        """Do the task: the handler of a task with one step.

        ``payload`` is a dict with ``task_info`` (str) and ``step`` (int). Runs at
        least once; raise to end the row DONE with success False.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs a method do_task_main(self, payload)."
        )

    @_alters_data
    def do_task_main_step1(self, payload: Any = None) -> Any:
        """Do the first step; by default the whole task."""
        return self.do_task_main(payload)

    @classmethod
    def _has_handler(cls, step: int) -> bool:
        handler = getattr(cls, steps.handler_name(step), None)
        if handler is SimpleTask.do_task_main_step1:  # which needs the user's method
            return cls.do_task_main is not SimpleTask.do_task_main
        return callable(handler)

    # -- publishing --------------------------------------------------------------

    @_alters_data
    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row, and publish it after the commit if it is new.

        Never fails and never waits long because of a broker. A column of the row's state
        is written where the caller has changed it since the row was loaded, and not
        otherwise: a worker may have. Inside a run, writes what the handler changed and
        nothing of the row's state; raises DjangoSimpleTask2Error 2910014 if the run has
        lost its claim.
        """
        with deadline.shared():
            self._save(*args, **kwargs)

    def _save(self, *args: Any, **kwargs: Any) -> None:
        self._refuse_to_come_back()
        before, self._saving = self._saving, _Saving()  # a receiver may save it, too
        if type(self)._do_update is not SimpleTask._do_update:
            vars(self)["_do_update"] = self._do_update_outermost  # before the class's
        try:
            super().save(*args, **kwargs)
            saved = self._saving
        finally:
            self._saving = before
            vars(self).pop("_do_update", None)
        self._note_saved(saved)
        if saved.is_created and self.__dict__.get("status") == self.READY:
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

        ``countdown`` in seconds or ``eta`` delay it, and auto-reset with it;
        ``priority`` (int) and ``queue`` (str) are Celery's. A row that is not READY
        has nothing to publish: that is logged, and ``reset()`` is the remedy.

        Raises ValueError for a row not saved yet, TypeError or ValueError for
        options that Celery would refuse. A broker that fails raises nothing: auto-reset
        publishes the row again.
        """
        options = publisher.check_options(countdown, eta, priority, queue)
        _require_saved([self])
        if self.status != self.READY:
            publisher.logger.warning(
                "%s is %s, not READY: not published. reset() it first.",
                self.get_task_info(),
                self.get_status_display(),
                extra={"task_info": self.get_task_info()},
            )
            return self
        with deadline.shared():
            if countdown is not None or eta is not None:
                self._wait_until(eta or self._later(countdown or 0))
            publisher.publish_on_commit([self], **options)
        return self

    @_alters_data
    def push_to_mq(self) -> Self:
        """Publish the row: the old name of :meth:`publish`."""
        return self.publish()

    @classmethod
    @_alters_data
    def publish_many(
        cls, rows: "Iterable[Self] | models.QuerySet[Self]", chunk: int = 1
    ) -> int:
        """Publish the READY rows among ``rows`` with one connection; return their number.

        For rows that no ``save()`` published, as of ``bulk_create``. With ``chunk``, a
        message carries up to so many rows, which one process runs one after the other:
        for many short tasks. Raises TypeError
        for a row of another model and ValueError for one without a primary key (on
        MySQL bulk_create leaves none: give a queryset), before any is published;
        ValueError for a chunk where DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT limits messages.
        """
        publisher.check_chunk(chunk)
        if isinstance(rows, models.QuerySet):
            if not issubclass(rows.model, cls):
                raise TypeError(f"{cls.__name__}.publish_many() got {rows.model!r}.")
            chosen: Any = rows  # whose database is None where nobody has named one
            ready = state.light(rows.filter(status=cls.READY)).iterator(chunk_size=1000)
            return publisher.publish_on_commit(ready, chunk, using=chosen._db)
        rows = list(rows)
        for row in rows:
            if not isinstance(row, cls):
                raise TypeError(f"{cls.__name__}.publish_many() got {row!r}.")
        _require_saved(rows)
        ready_rows = (row for row in rows if row.status == cls.READY)
        return publisher.publish_on_commit(ready_rows, chunk)

    @classmethod
    def auto_reset_index(cls, name: str) -> AutoResetIndex:
        """Return an index for ``Meta.indexes`` that keeps auto-reset fast.

        ``name`` (str, of 24 characters at most, "app_model") begins the index's name.
        The schema of the original has none, so that a model has it where its author
        asks for it. Raises ValueError for a name that is too long.
        """
        _require_short(name)
        return AutoResetIndex(fields=["status", "auto_reset_time"], name=f"{name}_reset")

    @classmethod
    def history_index(cls, name: str) -> HistoryIndex:
        """Return an index for ``Meta.indexes`` that keeps the dashboard's history whole.

        What has ended in the last hour and day, on a table of more than 100,000 rows;
        without it the newest rows stand for all. ``name`` as of :meth:`auto_reset_index`.
        Raises ValueError for a name that is too long.
        """
        _require_short(name)
        return HistoryIndex(fields=["status", "success", "done_time"], name=f"{name}_done")

    # -- running -----------------------------------------------------------------

    @_alters_data
    def do_task(
        self, payload: dict[str, Any] | None = None, force: bool = False
    ) -> dict[str, Any]:
        """Run one step of the row, as a caller who drives the steps himself.

        ``payload`` is what the handler receives; its ``step`` (default 1) says
        which. ``force`` runs the row in any status. Returns ``continue_flag``,
        ``task_info``, ``next_step`` and ``data`` (compatibility facts, section 3).
        Raises DjangoSimpleTask2Error 2910004, 2910007–2910010 or 2910013–2910015.
        """
        payload = {"task_info": self.get_task_info(), "step": 1, **(payload or {})}
        step = payload["step"]
        steps.require_step(self, step)
        using = databases.of(self)
        claims = step == 1 or force
        if claims:
            row = state.claim(type(self), using, self.pk, force)
        else:
            row = state.take_step(type(self), using, self.pk, step)
        self.__dict__.update(row.__dict__)  # what is in the database now, and the fence
        try:
            if claims:
                signals.started(self)
            if step > 1 and force:
                state.start_step(self, step)
            data = steps.call(self, step, payload)
            save = state.end_step if step < self.final_step else state.finish
            row = state.own_row(self)
            save(row)
            return steps.outcome(row, step, data)
        finally:
            self._fence = None

    @_alters_data
    def start(self, force: bool = False, save: bool = True) -> bool:
        """Mark the row DOING; return False if it was not READY (any, with force).

        Nor if ``get_a_task`` has handed it out since it was loaded.
        """
        if not force and self.status != self.READY:
            return False
        now = clock.now(databases.of(self))
        where = self._where(self.READY, force)
        lease = clock.after(now, self.get_do_task_timeout())
        values = {**self._claim_values(now), "auto_reset_time": lease}
        started = self._transition(values, where, save)
        if started and self._is_written(save):
            signals.started(self)
        return started

    @_alters_data
    def done(self, force: bool = False, save: bool = True) -> bool:
        """Mark the row DONE; return False if it was not DOING (any, with force)."""
        if not force and self.status != self.DOING:
            return False
        values = self._finish_values(timezone.now())
        values["success"] = self.success  # who calls done() says how it ended
        done = self._transition(values, self._where(self.DOING, force), save)
        if done and self._is_written(save):
            signals.finished(self)
        return done

    @_alters_data
    def reset(self, save: bool = True) -> Self:
        """Make the row READY again, as if it had never run, and return it.

        Takes the claim from a run under way. Publish the row afterwards, or leave
        that to auto-reset.
        """
        wait = self.get_task_wait_timeout()
        values = self._reset_values(timezone.now(), wait)
        if not self._transition(values, self._where(self.READY, force=True), save):
            raise exceptions.error(
                exceptions.ROW_GONE, task_info=task_info.text(type(self), self.pk)
            )
        lost_runs.forget([self])
        if self._is_written(save):
            signals.reset([self], signals.OPERATOR)
        return self

    @classmethod
    @_alters_data
    def do_auto_reset(cls) -> int:
        """Reset and publish every row whose lease is over; return their number.

        READY rows whose message is presumed to wait in a long queue are left alone,
        and rows that have lost too many runs are given up. Raises what the first database
        that failed has raised, when the others have had their turn.
        """
        count = 0
        waiting = Backlog()

        def choose(page: list[Self]) -> list[Self]:
            return lost_runs.give_up([row for row in page if not waiting.holds(row)])

        failures: list[Exception] = []
        for using in databases.candidates(cls):
            try:
                if not retrying.persist(using, partial(databases.holds, cls, using)):
                    continue
                for changed, rows in state.reset_stale(cls, using, choose):
                    if changed:
                        publisher.publish_on_commit(rows, leave_out=True, using=using)
                    count += changed
            except Exception as error:  # the other databases come next
                failures.append(error)
        if failures:
            raise failures[0]
        return count

    # -- the row in words --------------------------------------------------------

    def get_task_info(self) -> str:
        """Return "app.model:pk"."""
        return task_info.text(type(self), self.pk)

    def get_channel_name(self) -> str:
        """Return the row's channel: what ``channel_field`` holds, or "default"."""
        field = getattr(self, "channel_field", None)
        channel = getattr(self, field, None) if field else None
        return "default" if channel in (None, "") else str(channel)

    get_channel_name.short_description = _("Channel")  # type: ignore[attr-defined]

    def channel_name(self) -> str:
        """Return the row's channel: the name of 0.0.5."""
        return self.get_channel_name()

    def final_step_number(self) -> int:
        """Return the number of the last step."""
        return self.final_step

    final_step_number.short_description = _("Final Step Number")  # type: ignore[attr-defined]

    def current_step_display(self) -> str:
        """Return the progress as "1/2"."""
        return f"{self.current_step or 0}/{self.final_step}"

    current_step_display.short_description = _("Current Step")  # type: ignore[attr-defined]

    # -- timeouts ----------------------------------------------------------------

    def get_task_wait_timeout(self) -> int:
        """Return after how many seconds a READY row is published again.

        A number in the channel's Redis key overrides the class attribute.
        """
        key = conf.task_wait_timeout_key_template
        return self._at_run_time(key) or self.task_wait_timeout

    def get_do_task_timeout(self) -> int:
        """Return how many seconds the lease of a run lasts.

        A number in the channel's Redis key overrides the class attribute.
        """
        key = conf.do_task_timeout_key_template
        return self._at_run_time(key) or self.do_task_timeout

    @classmethod
    def get_redis_conn(cls) -> Any:
        """Return the Redis connection of the cache that the settings name."""
        from django_redis import get_redis_connection

        return get_redis_connection(conf.redis_name)

    def _at_run_time(self, template: str) -> int | None:
        key = template.format(channel=self.get_channel_name())
        return runtime_timeouts.look_up(key, self.get_redis_conn)

    # -- what each transition writes ---------------------------------------------

    @classmethod
    def _claim_values(cls, now: datetime.datetime) -> dict[str, Any]:
        return {
            "status": cls.DOING,
            "start_time": now,
            "current_step": 1,
            "step1_time": now,
            "auto_reset_time": clock.after(now, cls.do_task_timeout),
            "mod_time": now,
        }

    @classmethod
    def _step_values(cls, step: int, now: datetime.datetime) -> dict[str, Any]:
        values: dict[str, Any] = {"current_step": step, "mod_time": now}
        if f"step{step}_time" in STATE_FIELDS:  # steps above 3 have no column
            values[f"step{step}_time"] = now
        return values

    @classmethod
    def _finish_values(cls, now: datetime.datetime) -> dict[str, Any]:
        return {
            "status": cls.DONE,
            "success": True,
            "done_time": now,
            "auto_reset_time": None,
        }

    @classmethod
    def _failure_values(
        cls, now: datetime.datetime, error: BaseException
    ) -> dict[str, Any]:
        return {**cls._finish_values(now), "success": False}

    @classmethod
    def _reset_values(cls, now: datetime.datetime, wait: float) -> dict[str, Any]:
        cleared: dict[str, Any] = dict.fromkeys(STATE_FIELDS)
        return {
            **cleared,
            "status": cls.READY,
            "auto_reset_time": clock.after(now, wait),
            "mod_time": now,
        }

    # -- what a save writes ------------------------------------------------------

    @classmethod
    def from_db(cls, db: str | None, *args: Any, **kwargs: Any) -> Self:
        """Make an instance of what was loaded; it knows what it has seen of its state."""
        row = super().from_db(db, *args, **kwargs)
        row._seen = Seen.of(row, db)
        return row

    @_alters_data
    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Delete the row; a save in the same run does not bring it back."""
        deleted = super().delete(*args, **kwargs)
        if self._fence is not None:
            self._fence.is_deleted = True
        return deleted

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has of the row: a run's fence is not copied."""
        held: dict[str, Any] = super().__getstate__()
        return {
            k: v for k, v in held.items() if k not in ("_fence", "_saving", "_do_update")
        }

    @wraps(models.Model._do_update)
    def _do_update(  # type: ignore[override]
        self,
        base_qs: models.QuerySet[Self],
        using: str,
        pk_val: Any,
        values: list[Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Update one table of the row; inside a run, behind its fence.

        The signature is Django's, as mixins that guard a save have it: they give their
        ``base_qs`` to this one, or get this one's. Later versions than 5.2 add to it.
        """
        base_qs, values = self._narrow(base_qs, using, values)
        fence = self._fence
        if fence is not None and fence.is_around(self, using):
            values = fence.keep(values)
            if _has_state(base_qs.model):
                # Never an UPDATE without columns: Django would not ask the database,
                # and a child table's columns would be written unfenced.
                values = values or [(_field(base_qs.model), None, fence.token)]
        updated = super()._do_update(base_qs, using, pk_val, values, *args, **kwargs)
        if updated and self._saving is not None:
            self._saving.using = using
            self._saving.written += [column for column, _, _ in values]
        self._require_claim(updated, using)
        return updated

    def _do_update_outermost(
        self,
        base_qs: models.QuerySet[Self],
        using: str,
        pk_val: Any,
        values: list[Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Do the same before anything of a mixin's, which may not call what it stands for.

        django-concurrency replaces a model's ``_do_update`` by one that asks nobody.
        """
        base_qs, values = self._narrow(base_qs, using, values)
        update: Any = type(self)._do_update
        updated = update(self, base_qs, using, pk_val, values, *args, **kwargs)
        self._require_claim(updated and values, using)  # of no columns it asks nobody
        return updated

    def _narrow(
        self, base_qs: models.QuerySet[Self], using: str, values: list[Any]
    ) -> tuple[models.QuerySet[Self], list[Any]]:
        """Return the rows that a save may write to, and which values of the state's."""
        fence = self._fence
        if fence is not None and fence.is_around(self, using):
            values = [one for one in values if fence.may_write(one[0])]
            return fence.narrow(base_qs) if _has_state(base_qs.model) else base_qs, values
        if self._saving is not None:  # and not Django's loading of a fixture
            values = [one for one in values if not self._is_stale(using, *one)]
        return base_qs, values

    def _require_claim(self, updated: Any, using: str) -> None:
        """Raise 2910014 where a save of a run has missed: Django would insert the row.

        But where the run has its claim, a guard of the model's own has refused: then that
        one has to say so.
        """
        fence = self._fence
        if updated or fence is None or not fence.is_around(self, using):
            return
        if not state.has_claim(self):
            raise exceptions.claim_lost(task_info.text(type(self), fence.pk))

    def _is_stale(self, using: str, column: Any, _: None, value: Any) -> bool:
        """Tell whether a save outside of runs has nothing to say about a column.

        It is one of the state's, and the caller has not changed it since it was loaded;
        or since the instance was made, which then is as the model's defaults are.
        """
        name = column.attname
        if name not in STATE_FIELDS:
            return False
        seen = self._seen
        if seen is None:
            return is_same(value, column.get_default())
        return (
            seen.pk == self.pk
            and (using == seen.using or using == databases.of(self))  # no replica
            and is_same(value, seen.value_of(name))
        )

    def _note_saved(self, saved: "_Saving") -> None:
        """Remember what the database holds of the row now."""
        using = self._state.db
        if saved.is_inserted:
            self._seen = Seen.of(self, using)
        if not saved.written:
            return
        fence = self._fence
        if fence is not None and fence.is_around(self, saved.using or ""):
            fence.note_loaded(self, saved.written)
        changed = STATE_FIELDS & {column.attname for column in saved.written}
        if changed and self._seen is not None:
            savepoint.after_commit(using or "default", partial(self._see, changed))

    def _see(self, names: Iterable[str]) -> None:
        if self._seen is not None:
            self._seen = self._seen.with_columns(self, names)

    def _hold(self, values: dict[str, Any]) -> None:
        """Have the values that a statement has written to the row's state."""
        vars(self).update(values)
        self._see(STATE_FIELDS & values.keys())

    def _begin(self) -> None:
        """Let a row that is about to be inserted begin as a new one.

        A copy has another key than the row that it was loaded as: what it has seen of that
        one's state is not its own.
        """
        seen = self._seen
        if seen is not None and seen.pk != self.pk:
            for column in self._meta.concrete_fields:
                name = column.attname
                if name in STATE_FIELDS and is_same(
                    self.__dict__.get(name), seen.value_of(name)
                ):
                    setattr(self, name, column.get_default())
        unwatched = self.status == self.DOING and self.auto_reset_time is None
        if self.status == self.READY or unwatched:
            self.auto_reset_time = self._later(self.get_task_wait_timeout())

    def _save_in_run(self) -> None:
        """Save what a run changed; as ``save()`` does, where it has anything else to do.

        Django looks for parents, relations and receivers at each save. Of most rows there
        are none and nothing is overridden: the UPDATE is left, a fraction of the work.
        """
        model = type(self)
        if (
            not _is_one_table(model)
            or not _saves_as_django_does(model)
            or self._state.fields_cache  # related objects, which save() looks at
            or self._fence is None
            or pre_save.has_listeners(model)
            or post_save.has_listeners(model)
            or self.get_deferred_fields()
            or self._fence.token is None
            or router.db_for_write(model, instance=self) != self._fence.using
            or not statements.can_update(model, vars(self).values())
        ):
            self.save()
            return
        using = self._fence.using
        values = [
            (field, None, getattr(self, name) if is_plain else field.pre_save(self, False))
            for name, field, is_plain in _own_fields(model)
        ]
        fence = self._fence
        mine = fence.keep(values) or [(_field(model), None, fence.token)]
        where = {"pk": fence.pk, "status": fence.status, "start_time": fence.token}
        with transaction.mark_for_rollback_on_error(using):
            updated = statements.update(model, using, where, mine)
        if updated is None:  # a field makes an expression of its value
            self.save()
            return
        if not updated:
            raise exceptions.claim_lost(task_info.text(model, fence.pk))
        fence.note_loaded(self, [column for column, _, _ in mine])

    def _do_insert(
        self, manager: Any, using: str, fields: Any, returning_fields: Any, raw: bool
    ) -> Any:
        """Insert the row of one table; Django 5.2 to 6.1 call it so."""
        saving, table = self._saving, manager.model
        if saving is not None and not raw:
            if _has_state(table):
                self._begin()
                saving.is_inserted = True
            saving.is_created = table is self._meta.concrete_model
        key = None if raw else statements.insert(self, using, fields, returning_fields)
        if key is not None:
            return [(key,)]
        return super()._do_insert(  # type: ignore[misc]
            manager, using, fields, returning_fields, raw
        )

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: "models.QuerySet[Any] | None" = None,
    ) -> None:
        """Load the row, or some of its fields, anew; the fence of a run knows of it."""
        fields = None if fields is None else list(fields)
        super().refresh_from_db(using, fields, from_queryset)
        loaded = [
            field
            for field in self._meta.concrete_fields
            if fields is None or {field.name, field.attname} & set(fields)
        ]
        if self._fence is not None:
            self._fence.note_loaded(self, loaded)
        if fields is None or self._seen is None:
            self._seen = Seen.of(self, self._state.db)
        else:
            self._see(STATE_FIELDS & {field.attname for field in loaded})

    def _where(self, status: int, force: bool) -> Fence:
        """Return what must be true of the row for a transition; by force, nothing."""
        using = databases.of(self)
        return Fence(self.pk, self.start_time, None if force else status, using)

    def _transition(self, values: dict[str, Any], where: Fence, save: bool) -> bool:
        """Set values and write them alone; False if ``where`` did not hold any more.

        What else the caller has changed is saved by ``save()``: the object may be older
        than what a handler has written.
        """
        before = {name: self.__dict__[name] for name in values if name in self.__dict__}
        for name, value in values.items():
            setattr(self, name, value)
        if not save:
            if self._fence is None and self._seen is not None:  # a save is to write them
                self._seen = self._seen.without(values)
            return True
        if self._fence is not None or self._state.adding:
            self.save()
            return True
        where.writes, self._fence = STATE_FIELDS, where
        try:
            with savepoint.around(where.using):
                self.save(using=where.using, update_fields={*values, "mod_time"})
        except exceptions.ClaimLost:
            vars(self).update(before)
            return False
        finally:
            self._fence = None
        return True

    def _is_written(self, save: bool) -> bool:
        """Tell whether a transition is in the database: inside a run, none is."""
        return save and self._fence is None

    def _refuse_to_come_back(self) -> None:
        """Refuse the INSERT of a row that its own handler has deleted."""
        if self._fence is not None and self._fence.is_deleted:
            name = task_info.text(type(self), self._fence.pk)
            raise exceptions.claim_lost(name)

    def _wait_until(self, eta: datetime.datetime) -> None:
        """Keep auto-reset from publishing the row before its time."""
        time = clock.after(clock.stored(eta), self.get_task_wait_timeout())
        waiting = state.owned(type(self), databases.of(self))
        if waiting.filter(pk=self.pk, status=self.READY).update(auto_reset_time=time):
            self.auto_reset_time = time

    def _later(self, seconds: float) -> datetime.datetime:
        return clock.after(timezone.now(), seconds)


@dataclass
class _Saving:
    """What a ``save()`` has done until now."""

    is_inserted: bool = False  # the row with the state columns
    is_created: bool = False  # as Django's post_save has it
    using: str | None = None
    written: list[Any] = field(default_factory=list)  # columns of UPDATEs


def _saves_as_django_does(model: Any) -> bool:
    """Tell whether a save of the model runs no code of the user's, as of this moment."""
    django: Any = models.Model
    after: Any = super(SimpleTask, model)  # where a mixin may stand, too
    return (
        model.save is SimpleTask.save
        and after.save is django.save
        and model.save_base is django.save_base
        and model._save_table is django._save_table
        and model._do_update is SimpleTask._do_update
        and after._do_update is django._do_update
    )


@cache
def _is_one_table(model: type[models.Model]) -> bool:
    meta = model._meta
    computed = any(field.generated for field in meta.concrete_fields)
    return not (meta.parents or meta.proxy or computed) and len(meta.pk_fields) == 1


@cache
def _own_fields(model: type[models.Model]) -> list[tuple[str, Any, bool]]:
    """Return (attribute, field, whether a save takes it as it is) but for the key."""
    plain = {
        models.Field.pre_save,
        models.DateField.pre_save,
        models.DateTimeField.pre_save,
    }
    return [
        (
            field.attname,
            field,
            type(field).pre_save in plain and not getattr(field, "auto_now", False),
        )
        for field in model._meta.concrete_fields
        if not field.primary_key
    ]


def _require_saved(rows: Iterable[SimpleTask]) -> None:
    for row in rows:
        if row.pk is None or row._state.adding:
            raise ValueError(f"{row!r} has no row yet: save it before publishing it.")


def _require_short(name: str) -> None:
    if len(name) > 24:
        raise ValueError(f"{name!r} is over 24 characters: databases allow 30 in all.")


@cache
def _has_state(model: type[models.Model]) -> bool:
    return any(f.attname == "status" for f in model._meta.local_concrete_fields)


@cache
def _field(model: type[models.Model]) -> Any:
    return model._meta.get_field("start_time")
