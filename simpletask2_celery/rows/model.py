"""``Row``: the eleven columns of a task, its timeouts and channel, and its save.

The abstract base of ``models.SimpleTask``, which adds what users call. A save outside of runs
writes a column of the state only where the caller has changed it (``seen``); a save inside a
run writes what the handler has changed, and only while the run holds the row (``fence``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, partial, wraps
from typing import Any, Self

from django.apps import apps
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import exceptions
from ..conf import conf
from . import clock, deadline, fence, seen, states, task_info, timeouts
from .states import STATE_FIELDS
from .transactions import after_commit


class Row(models.Model):
    """A row that is a task: its state, and the rules by which it is saved."""

    READY = states.READY
    DOING = states.DOING
    DONE = states.DONE
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
    success = models.BooleanField(null=True, verbose_name=_("Success Status"), editable=False)
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

    _saving: "_Saving | None" = None

    class Meta:
        abstract = True

    # -- the row in words --------------------------------------------------------------

    def get_task_info(self) -> str:
        """Return "app.model:pk"."""
        return task_info.text(type(self), self.pk)

    def get_channel_name(self) -> str:
        """Return the row's channel: what ``channel_field`` holds, or "default"."""
        field = getattr(self, "channel_field", None)
        channel = getattr(self, field, None) if field else None
        return "default" if channel in (None, "") else str(channel)

    get_channel_name.short_description = _("Channel")  # type: ignore[attr-defined]

    def current_step_display(self) -> str:
        """Return the progress as "1/2"."""
        return f"{self.current_step or 0}/{self.final_step}"

    current_step_display.short_description = _("Current Step")  # type: ignore[attr-defined]

    # -- timeouts ----------------------------------------------------------------------

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
        return timeouts.look_up(key, self.get_redis_conn)

    # -- loading -----------------------------------------------------------------------

    @classmethod
    def from_db(cls, db: str | None, *args: Any, **kwargs: Any) -> Self:
        """Make an instance of what was loaded, and note its state."""
        row = super().from_db(db, *args, **kwargs)
        seen.note(row, db)
        return row

    def refresh_from_db(
        self,
        using: str | None = None,
        fields: Iterable[str] | None = None,
        from_queryset: "models.QuerySet[Any] | None" = None,
    ) -> None:
        """Load the row, or some of its fields, anew, and note what was loaded."""
        fields = None if fields is None else list(fields)
        super().refresh_from_db(using, fields, from_queryset)
        loaded = [
            field
            for field in self._meta.concrete_fields
            if fields is None or {field.name, field.attname} & set(fields)
        ]
        if (own := fence.of(self)) is not None:
            own.note_loaded(self, loaded)
        seen.note_refreshed(self, {field.attname for field in loaded}, fields is None)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle has of the row: not the fence of a run."""
        held: dict[str, Any] = super().__getstate__()
        return {k: v for k, v in held.items() if k not in (fence.NAME, "_saving", "_do_update")}

    # -- saving ------------------------------------------------------------------------

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the row, and publish it after the commit if it is new.

        Never fails and never waits long because of a broker. A column of the row's state
        is written where the caller has changed it since the row was loaded, and not
        otherwise: a worker may have. Inside a run, writes what the handler changed and
        nothing of the row's state; raises DjangoSimpleTask2Error 2910014 if the run has
        lost its claim.
        """
        self._refuse_to_come_back()
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
            self._note_saved(saved)
            if saved.is_created and vars(self).get("status") == self.READY:
                self._was_created()

    save.alters_data = True  # type: ignore[attr-defined]

    def _was_created(self) -> None:
        """Publish a new READY row: the part of a save that rows know nothing of."""

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        """Delete the row; a save in the same run does not bring it back."""
        deleted = super().delete(*args, **kwargs)
        if (own := fence.of(self)) is not None:
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
                self._begin()
                saving.is_inserted = True
            saving.is_created = table is self._meta.concrete_model
        return super()._do_insert(  # type: ignore[misc]
            manager, using, fields, returning_fields, raw
        )

    def _begin(self) -> None:
        """Give a row that is about to be inserted the time to look after it."""
        seen.begin_anew(self)
        unwatched = self.status == self.DOING and self.auto_reset_time is None
        if self.status == self.READY or unwatched:
            wait = self.get_task_wait_timeout()
            self.auto_reset_time = clock.after(timezone.now(), wait)

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
        own = fence.of(self)
        if own is not None and own.is_around(self, using):
            values = own.keep(values)
            if _has_state(base_qs.model):
                # Never an UPDATE without columns: Django would not ask the database,
                # and a child table's columns would be written unfenced.
                values = values or [(_token(base_qs.model), None, own.token)]
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
        """Guard the update of a mixin that does not call this class's.

        django-concurrency replaces a model's ``_do_update`` by one of its own.
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
        own = fence.of(self)
        if own is not None and own.is_around(self, using):
            values = [one for one in values if own.may_write(one[0])]
            return own.narrow(base_qs) if _has_state(base_qs.model) else base_qs, values
        if self._saving is not None:  # and not Django's loading of a fixture
            values = [one for one in values if not seen.is_stale(self, using, one[0], one[2])]
        return base_qs, values

    def _require_claim(self, updated: Any, using: str) -> None:
        """Raise 2910014 where a save of a run has missed: Django would insert the row.

        Where the run has its claim, a guard of the model's own has refused; that guard has
        to say so.
        """
        own = fence.of(self)
        if updated or own is None or not own.is_around(self, using):
            return
        if not fence.is_held(self):
            raise exceptions.claim_lost(task_info.text(type(self), own.pk))

    def _refuse_to_come_back(self) -> None:
        """Refuse the INSERT of a row that its own handler has deleted."""
        own = fence.of(self)
        if own is not None and own.is_deleted:
            raise exceptions.claim_lost(task_info.text(type(self), own.pk))

    def _note_saved(self, saved: "_Saving") -> None:
        """Note what the database holds of the row now."""
        using = self._state.db
        if saved.is_inserted:
            seen.note(self, using)
        if not saved.written:
            return
        own = fence.of(self)
        if own is not None and own.is_around(self, saved.using or ""):
            own.note_loaded(self, saved.written)
        if changed := STATE_FIELDS & {column.attname for column in saved.written}:
            after_commit(using or "default", partial(seen.note_columns, self, changed))


@dataclass
class _Saving:
    """What a ``save()`` has done until now."""

    is_inserted: bool = False  # the row with the state columns
    is_created: bool = False  # as Django's post_save has it
    using: str | None = None
    written: list[Any] = field(default_factory=list)  # columns of UPDATEs


def task_models() -> list[Any]:
    """Return the models that have rows, subclasses of Row that are no proxies."""
    return [
        model for model in apps.get_models() if issubclass(model, Row) and not model._meta.proxy
    ]


@cache
def _has_state(model: type[models.Model]) -> bool:
    return any(f.attname == "status" for f in model._meta.local_concrete_fields)


@cache
def _token(model: type[models.Model]) -> Any:
    return model._meta.get_field("start_time")
