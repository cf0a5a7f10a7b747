"""``Row``: the eleven columns of a task, its timeouts and channel, and its save.

The abstract base of ``models.SimpleTask``, which adds what users call. A save outside of runs
writes a column of the state only where the caller has changed it (``seen``); a save inside a
run writes what the handler has changed, and only while the run holds the row (``fence``).
"""

from dataclasses import dataclass, field
from functools import cache, partial, wraps
from typing import Any, ClassVar, Self

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import models, transaction
from django.utils.translation import gettext_lazy as _

from .. import exceptions
from ..conf import conf
from . import deadline, due, fence, redis_connection, seen, states, task_info, timeouts
from .states import STATE_FIELDS
from .transactions import after_commit


class Row(models.Model):
    """A row that is a task: its state, and the rules by which it is saved."""

    READY = states.READY
    DOING = states.DOING
    DONE = states.DONE
    STATUS = [(READY, _("Ready")), (DOING, _("Doing")), (DONE, _("Done"))]

    add_time = models.DateTimeField(_("Add Time"), auto_now_add=True)
    mod_time = models.DateTimeField(_("Modify Time"), auto_now=True)
    status = models.IntegerField(_("Status"), choices=STATUS, default=READY, editable=False)
    start_time = models.DateTimeField(_("Start Time"), null=True, blank=True, editable=False)
    current_step = models.IntegerField(_("Current Step"), null=True, blank=True, editable=False)
    step1_time = models.DateTimeField(_("Step1 start time"), null=True, blank=True, editable=False)
    step2_time = models.DateTimeField(_("Step2 start time"), null=True, blank=True, editable=False)
    step3_time = models.DateTimeField(_("Step3 start time"), null=True, blank=True, editable=False)
    done_time = models.DateTimeField(_("Done Time"), null=True, blank=True, editable=False)
    success = models.BooleanField(_("Success Status"), null=True, editable=False)
    auto_reset_time = models.DateTimeField(
        _("Auto Reset Time"),
        null=True,
        blank=True,
        help_text=_("After which time the task should be reset."),
        editable=False,
    )

    #: Set by the user: the steps, and the timeouts in seconds.
    is_multi_steps = False
    final_step = 1
    do_task_timeout = 300
    task_wait_timeout = 300
    #: Seconds after which beat's entry deletes a DONE row; None for never.
    keep_done: float | None = None
    #: The Celery queue of the egress worker that makes the proxy requests of these rows. None: as
    #: DJANGO_SIMPLETASK2_PROXY_QUEUE says; "": the row's own worker makes them.
    proxy_queue: str | None = None

    #: True of models.DurableTask, whose rows have the columns of ``memory``.
    _is_durable = False
    #: The columns that transitions write, and a save only where the caller has changed them.
    _state_fields: ClassVar[frozenset[str]] = STATE_FIELDS

    #: What is told of a row that was claimed (``started(row)``) or is DONE (``finished(row)``),
    #: after the commit, beside who listens to the signals.
    _listener: ClassVar[Any] = None

    _saving: "_Saving | None" = None

    class Meta:
        abstract = True

    # -- the row in words --------------------------------------------------------------

    def get_task_info(self) -> str:
        """Return "app.model:pk"."""
        return task_info.text(type(self), self.pk)

    def get_channel_name(self) -> str:
        """Return the row's channel: what ``channel_field`` holds, or "default"."""
        name = getattr(self, "channel_field", None)
        channel = getattr(self, name, None) if name else None
        return "default" if channel in (None, "") else str(channel)

    get_channel_name.short_description = _("Channel")  # type: ignore[attr-defined]

    def get_celery_name(self) -> str | None:
        """Return what Celery's log, events and Flower call the row; None for "app.model"."""
        return None

    def get_urgency(self) -> int | None:
        """Return how urgent the row's message is, 0 to 9; None for what others have."""
        return None

    def current_step_display(self) -> str:
        """Return the progress as "1/2"."""
        return f"{self.current_step or 0}/{self.final_step}"

    current_step_display.short_description = _("Current Step")  # type: ignore[attr-defined]

    # -- timeouts: a number in the channel's Redis key overrides the class attribute -----

    def get_task_wait_timeout(self) -> int:
        """Return after how many seconds a READY row is published again."""
        template = conf.task_wait_timeout_key_template
        return self._at_run_time(template) or self.task_wait_timeout

    def get_do_task_timeout(self) -> int:
        """Return how many seconds the lease of a run lasts."""
        return self._at_run_time(conf.do_task_timeout_key_template) or self.do_task_timeout

    @classmethod
    def get_redis_conn(cls) -> Any:
        """Return the Redis connection of the cache that the settings name."""
        return redis_connection.of_project()

    def _at_run_time(self, template: str) -> int | None:
        key = template.format(channel=self.get_channel_name())
        return timeouts.look_up(key, self.get_redis_conn)

    # -- loading -----------------------------------------------------------------------

    @classmethod
    def from_db(cls, db: str | None, *args: Any, **kwargs: Any) -> Self:
        """Make an instance of what was loaded, and note its state."""
        row = super().from_db(db, *args, **kwargs)
        seen.note(row, db)
        return row

    def refresh_from_db(
        self, using: str | None = None, fields: Any = None, from_queryset: Any = None
    ) -> None:
        """Load the row, or some of its fields, anew, and note what was loaded."""
        columns: Any = self._meta.concrete_fields
        if fields is not None:
            fields = list(fields)
            columns = [one for one in columns if {one.name, one.attname} & set(fields)]
        super().refresh_from_db(using, fields, from_queryset)
        if (own := fence.of(self)) is not None:
            own.remember_loaded(self, columns)
        seen.remember_refreshed(self, {one.attname for one in columns}, fields is None)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has of the row: not the fence of a run."""
        held: dict[str, Any] = super().__getstate__()
        return {k: v for k, v in held.items() if k not in (fence.NAME, "_saving", "_do_update")}

    # -- saving ------------------------------------------------------------------------

    def save(self, *args: Any, publish: bool = True, **kwargs: Any) -> None:
        """Save the row, and publish it after the commit if it is new.

        Never fails and never waits long because of a broker. With ``publish=False`` a new row is
        not published: call :meth:`publish`, or auto-reset does, after ``task_wait_timeout``.

        A column of the row's state is written only where the caller has changed it since the row
        was loaded: a worker may have, too. Inside a run, writes what the handler changed and
        nothing of the row's state; raises DjangoSimpleTask2Error 2910014 if the run has lost its
        claim. Raises TypeError, and saves nothing, where ``publish`` is no bool.
        """
        if not isinstance(publish, bool):
            raise TypeError(f"publish must be True or False, not {publish!r}.")
        if (own := fence.of(self)) is not None and own.is_deleted:
            raise exceptions.claim_lost(task_info.text(type(self), own.pk))
        with deadline.shared():
            before, self._saving = self._saving, _Saving()  # a receiver may save it, too
            if type(self)._do_update is not Row._do_update:
                vars(self)["_do_update"] = self._do_update_outermost  # before the class's
            try:
                super().save(*args, **kwargs)
                saved = self._saving
            finally:
                self._saving = before
                vars(self).pop("_do_update", None)
            if saved.is_rescheduled and not saved.is_created:
                self._was_rescheduled(publish)
            self._remember_saved(saved)
            if publish and saved.is_created and vars(self).get("status") == self.READY:
                self._was_created()

    save.alters_data = True  # type: ignore[attr-defined]

    async def asave(self, *args: Any, publish: bool = True, **kwargs: Any) -> None:
        """Save the row from async code: see :meth:`save`."""
        if publish is True:  # a model's own save() need not know of it
            await super().asave(*args, **kwargs)
        else:
            await sync_to_async(self.save)(*args, publish=publish, **kwargs)

    asave.alters_data = True  # type: ignore[attr-defined]

    def _was_created(self) -> None:
        """Publish a new READY row: the part of a save that rows know nothing of."""

    def _was_rescheduled(self, publish: bool) -> None:
        """Publish a READY row whose time to start was changed, likewise, if it is asked for."""

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Delete the row; a save in the same run does not bring it back.

        Raises DjangoSimpleTask2Error 2910014 inside a run that has lost its claim.
        """
        own = fence.of(self)
        if own is None or own.pk != self.pk:
            return super().delete(*args, **kwargs)
        with transaction.atomic(using=own.using):
            if not own.held(type(self)).update(start_time=own.token):  # which locks the row
                raise exceptions.claim_lost(task_info.text(type(self), own.pk))
            deleted = super().delete(*args, **kwargs)
        own.is_deleted = True
        return deleted

    delete.alters_data = True  # type: ignore[attr-defined]

    def _do_insert(
        self, manager: Any, using: str, fields: Any, returning_fields: Any, raw: bool
    ) -> Any:
        """Insert the row of one table; Django 5.2 to 6.1 call it so."""
        saving, table = self._saving, manager.model
        if saving is not None and not raw:
            if _has_state(table):
                seen.begin_anew(self)
                self._be_looked_after()
                saving.is_inserted = True
            saving.is_created = table is self._meta.concrete_model
        insert: Any = super()._do_insert  # type: ignore[misc]
        return insert(manager, using, fields, returning_fields, raw)

    def _be_looked_after(self) -> None:
        """Set when auto-reset looks after a row that is about to be inserted."""
        is_unwatched = self.status == self.DOING and self.auto_reset_time is None
        if self.status == self.READY or is_unwatched:
            self.auto_reset_time = due.look(self)

    @wraps(models.Model._do_update)
    def _do_update(  # type: ignore[override]
        self, base_qs: Any, using: str, pk_val: Any, values: list[Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Update one table of the row; inside a run, behind its fence.

        The signature is Django's, as mixins that guard a save have it: they give their ``base_qs``
        to this one, or get this one's. Later versions than 5.2 add to it.
        """
        base_qs, values = self._narrow(base_qs, using, values)
        if (own := fence.around(self, using)) is not None:
            values = own.keep(values)
            if _has_state(base_qs.model) and not values:
                # Never an UPDATE without columns: Django would not ask the database,
                # and a child table's columns would be written unfenced.
                values = [(base_qs.model._meta.get_field("start_time"), None, own.token)]
        updated = super()._do_update(base_qs, using, pk_val, values, *args, **kwargs)
        if updated and self._saving is not None:
            self._saving.using = using
            self._saving.written += [column for column, _, _ in values]
        self._require_claim(updated, using)
        return updated

    def _do_update_outermost(
        self, base_qs: Any, using: str, pk_val: Any, values: list[Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Guard an ``_do_update`` that never calls this class's, as django-concurrency's."""
        base_qs, values = self._narrow(base_qs, using, values)
        update: Any = type(self)._do_update
        updated = update(self, base_qs, using, pk_val, values, *args, **kwargs)
        self._require_claim(updated and values, using)  # of no columns it asks nobody
        return updated

    def _narrow(self, base_qs: Any, using: str, values: list[Any]) -> tuple[Any, list[Any]]:
        """Return the rows that a save may write to, and which values of the state's."""
        if (own := fence.around(self, using)) is not None:
            values = [one for one in values if own.may_write(one[0])]
            return own.narrow(base_qs) if _has_state(base_qs.model) else base_qs, values
        if self._saving is not None:  # and not Django's loading of a fixture
            values = [one for one in values if not seen.is_unchanged(self, using, one[0], one[2])]
        return base_qs, values

    def _require_claim(self, updated: Any, using: str) -> None:
        """Raise 2910014 where a save of a run has missed: Django would insert the row.

        Where the run has its claim, a guard of the model's own has refused, which has to say so.
        """
        own = fence.around(self, using)
        if not updated and own is not None and not fence.is_held(self):
            raise exceptions.claim_lost(task_info.text(type(self), own.pk))

    def _remember_saved(self, saved: "_Saving") -> None:
        """Remember what the database holds of the row now."""
        using = self._state.db
        if saved.is_inserted:
            seen.note(self, using)
        if saved.written and (own := fence.around(self, saved.using or "")) is not None:
            own.remember_loaded(self, saved.written)
        if changed := self._state_fields & {column.attname for column in saved.written}:
            after_commit(using or "default", partial(seen.remember_columns, self, changed))


@dataclass
class _Saving:
    """What a ``save()`` has done until now."""

    is_inserted: bool = False  # the row with the state columns
    is_created: bool = False  # as Django's post_save has it
    is_rescheduled: bool = False  # with another time to start
    using: str | None = None
    written: list[Any] = field(default_factory=list)  # columns of UPDATEs


def task_models() -> list[Any]:
    """Return the models that have rows, subclasses of Row that are no proxies."""
    return [one for one in apps.get_models() if issubclass(one, Row) and not one._meta.proxy]


@cache
def _has_state(model: type[models.Model]) -> bool:
    return any(f.attname == "status" for f in model._meta.local_concrete_fields)
