"""The ModelAdmin of task models: the columns of the list, and the page of a row."""

import datetime
import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets, quote, unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from ..rows import clock, querysets, states
from ..watching import time_ranges
from . import attempts, cells, dashboard, timeline
from .actions import ACTIONS, DURABLE_ACTIONS
from .changelist import (
    AgeFilter,
    AttemptFilter,
    BoundedPaginator,
    ChannelFilter,
    StaleFilter,
    TaskList,
)

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = object

FIRST = 2  # of the model's own fields, which a list shows by default
LONG = (models.TextField, models.JSONField, models.BinaryField)  # which no list has room for

#: The buttons of a row's page: (action, label, which rows have it, given the time).
BUTTONS: list[tuple[str, Any, Callable[[Any, datetime.datetime], bool]]] = [
    ("retry_selected_tasks", _("Retry now"), attempts.may_retry),
    (
        "publish_selected_tasks",
        _("Publish again"),
        lambda row, now: row.status == states.READY and not cells.waits_for_its_time(row, now),
    ),
    (
        "reset_selected_tasks",
        _("Reset and publish"),
        lambda row, now: row.status in (states.DOING, states.DONE),
    ),
    (
        "cancel_selected_tasks",
        _("Cancel"),
        lambda row, now: row._is_durable and row.status != states.DONE,
    ),
    (
        "stop_selected_tasks",  # cancelling a durable row says more
        _("Stop"),
        lambda row, now: not row._is_durable and row.status != states.DONE,
    ),
]


def _column(title: Any, cell: Callable[[Any, datetime.datetime], str | None]) -> Any:
    """Return a column of the list; ``cell`` gives its text for a row and the time."""

    @admin.display(description=title)
    def column(modeladmin: Any, row: Any) -> str | None:
        return cell(row, clock.now(str(row._state.db)))

    return column


class SimpleTaskAdminMixin(Base):
    """What makes a ModelAdmin one of tasks; put it before the ModelAdmin.

    A subclass may set any attribute of a ModelAdmin as usual, as
    ``list_display = [*SimpleTaskAdmin.list_display, "name"]``. Without one, the model's first
    two short fields are shown, too. The columns are
    ``task_name``, ``task_state`` (a badge), ``task_steps`` ("1/2" and a bar), ``task_lease``
    (its end, or when the row is published again), ``task_wait`` and ``task_run`` (for how
    long it has waited and run), ``task_added`` and ``task_channel``; of a durable model also
    ``task_attempts`` and ``task_next`` (when the next one is due, if that is ahead). Its
    ``pending_request`` is shown nowhere: it may hold passwords.
    """

    list_display = [
        "task_name",
        "task_state",
        "task_steps",
        "task_lease",
        "task_wait",
        "task_run",
        "task_added",
    ]
    list_filter = ["status", "success", StaleFilter, AttemptFilter, ChannelFilter, AgeFilter]
    search_fields = ["pk"]
    date_hierarchy = "add_time"
    actions = [*DURABLE_ACTIONS, *ACTIONS]
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # facets count the whole table once a choice
    change_list_template = "simpletask2_celery/change_list.html"
    change_form_template = "simpletask2_celery/change_form.html"

    class Media:
        """Styles, and scripts that let countdowns run and keep a row's state fresh."""

        css = {"all": ["simpletask2_celery/simpletask2.css"]}
        js = ["simpletask2_celery/simpletask2.js", "simpletask2_celery/live.js"]

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        """Put the dashboard into the site, too."""
        super().__init__(model, admin_site)
        if not admin_site.is_registered(dashboard.Dashboard):
            admin_site.register(dashboard.Dashboard, dashboard.DashboardAdmin)

    @admin.display(description=_("Task"), ordering="pk")
    def task_name(self, row: Any) -> str:
        """Return what the model calls the row, or its kind and key."""
        own_words: Any = type(row).__str__
        if own_words is not models.Model.__str__:
            return str(row)
        return format_html("{} {}", self.opts.verbose_name, cells.key(row.pk))

    task_state = _column(_("State"), lambda row, now: cells.badge(cells.look(row, now)))
    task_steps = _column(_("Step"), lambda row, now: cells.progress(row, cells.look(row, now)))
    task_attempts = _column(_("Attempts"), lambda row, now: str(row.attempts))
    task_next = _column(_("Next attempt"), cells.next_attempt)
    task_lease = _column(_("Lease"), cells.lease)
    task_wait = _column(_("Waited"), cells.waited)
    task_run = _column(_("Ran"), cells.ran)
    task_added = _column(_("Created"), lambda row, now: cells.added(row))
    task_channel = _column(_("Channel"), lambda row, now: str(row.get_channel_name()))

    # -- the list ------------------------------------------------------------------

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return what a subclass has set; else the columns, and the model's first fields.

        A relation is none of these: its words may take a query for each row. Nor is a field that
        the row's page does not show.
        """
        if self.list_display is not SimpleTaskAdminMixin.list_display:
            return attempts.without_hidden(self.model, super().get_list_display(request))
        columns = {*self.model._state_fields, "add_time", "mod_time"}
        shown = {*flatten_fieldsets(self.get_fieldsets(request))} - columns
        own = [
            field.name
            for field in self.opts.concrete_fields
            if field.name in shown
            and not (field.primary_key or field.is_relation or isinstance(field, LONG))
        ]
        name, state, steps, *others = super().get_list_display(request)
        memory = ["task_attempts", "task_next"] if self.model._is_durable else []
        return [name, *own[:FIRST], state, steps, *memory, *others]

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> Any:
        """Return the actions; those of durable rows only where the model's are.

        Django 6.1 and later say for which page they are.
        """
        where = () if action_location is None else (action_location,)
        actions = super().get_actions(request, *where)
        if not self.model._is_durable:
            for one in DURABLE_ACTIONS:
                actions.pop(one.__name__, None)
        return actions

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[TaskList]:
        """Return the list that is fast on large tables."""
        return TaskList

    def get_ordering(self, request: HttpRequest) -> Any:
        """Return what a subclass or the model has set; else the newest rows come first."""
        newest = ["-pk"] if time_ranges.is_counted(self.model) else ["-add_time"]
        return super().get_ordering(request) or self.opts.ordering or newest

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """Search by key, and by the fields that a subclass names beside it."""
        if not search_term:
            return queryset, False
        by_key = queryset.filter(pk__in=self._keys_in(search_term))
        if list(self.get_search_fields(request)) == ["pk"]:
            return by_key, False
        rows, has_duplicates = super().get_search_results(request, queryset, search_term)
        return rows | by_key, has_duplicates

    def _keys_in(self, text: str) -> set[Any]:
        """Return the keys that a text names, in one of the ways that logs write them."""
        key = querysets.target_field(self.opts.pk)
        keys = set()
        for part in {text.strip(), *re.split(r"[\s,]+", text.strip())}:
            with suppress(ValidationError):  # of a part that names no row
                keys.add(key.clean(part.removeprefix(f"{self.opts.label_lower}:"), None))
        return keys

    def get_urls(self) -> Any:
        """Return the model's URLs, and that of a row's state alone."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_state"
        view = self.admin_site.admin_view(self.state_view)
        return [path("<path:object_id>/state/", view, name=name), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the list, with a link to the dashboard where the site has it."""
        url = dashboard.url(self.admin_site, dashboard.NAME)
        return super().changelist_view(request, {"dashboard_url": url, **(extra_context or {})})

    # -- the page of a row ---------------------------------------------------------

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return those of a subclass, the columns of the state, and the key of a saved row."""
        fields = [*super().get_readonly_fields(request, obj)]
        key: Any = self.opts.pk
        if obj and key.formfield() is not None:  # another key would make another row
            fields.append(key.name)
        fields += self.model.SIMPLE_TASK_FIELDS
        return attempts.without_hidden(self.model, list(dict.fromkeys(fields)))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return what a subclass has set; else all fields, and below them the state."""
        if self.fieldsets or self.fields:
            return [
                (
                    title,
                    {**options, "fields": attempts.without_hidden(self.model, options["fields"])},
                )
                for title, options in super().get_fieldsets(request, obj)
            ]
        state = list(self.model.SIMPLE_TASK_FIELDS)
        own = [name for name in self.get_fields(request, obj) if name not in state]
        below = (_("Columns of the state"), {"fields": state, "classes": ["collapse"]})
        return [(None, {"fields": own}), *([below] if obj else [])]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Return Django's field of a form; that of ``run_after`` brings what the page had.

        A row may have been tried again since: who has typed no other time changes none.
        """
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and self.model._is_durable and db_field.name == "run_after":
            field.show_hidden_initial = True
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save all but the row's state: a worker may have taken the row meanwhile."""
        if not change:
            return super().save_model(request, obj, form, change)
        typed = {"run_after"}.intersection(form.changed_data)  # an input of durable rows
        state = self.model._state_fields - typed
        fields = [field for field in self.opts.concrete_fields if not field.primary_key]
        obj.save(update_fields=[f.name for f in fields if f.attname not in state])

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show the row's page, with its timeline and buttons."""
        row = context.get("original")
        if row is None:
            return super().render_change_form(request, context, *args, **kwargs)
        context["task"] = self._task(request, row)
        return super().render_change_form(request, context, *args, **kwargs)

    def state_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return a row's state as its page shows it, for the page's script."""
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        context = {"task": self._task(request, row), "is_fresh": True}
        return TemplateResponse(request, "simpletask2_celery/timeline.html", context)

    def _task(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page says of a row's state."""
        now = clock.now(str(row._state.db))
        look = cells.look(row, now)
        name = f"{self.opts.app_label}_{self.opts.model_name}_state"
        is_over = row.status == states.DONE
        actions = self.get_actions(request) if self.has_change_permission(request, row) else {}
        return {
            "state_url": None if is_over else dashboard.url(self.admin_site, name, quote(row.pk)),
            "badge": cells.badge(look),
            "steps": cells.progress(row, look),
            "lease": cells.lease(row, now),
            "wait": self.task_wait(row),
            "run": self.task_run(row),
            "channel": self.task_channel(row),
            "memory": attempts.facts(row, now),
            "info": row.get_task_info(),
            "explanation": timeline.explanation(row, look, now),
            "lines": timeline.draw(row, now),
            "buttons": [
                (name, words)
                for name, words, has_it in BUTTONS
                if name in actions and has_it(row, now)
            ],
        }

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet[Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Run the action; go back to the row's page if its button was pressed there."""
        response = super().response_action(request, queryset, *args, **kwargs)
        if "_back" not in request.POST or not isinstance(response, HttpResponseRedirect):
            return response
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        keys = [quote(request.POST["_selected_action"])]
        return HttpResponseRedirect(reverse(name, args=keys, current_app=self.admin_site.name))


class SimpleTaskAdmin(SimpleTaskAdminMixin, admin.ModelAdmin):  # type: ignore[type-arg]
    """The ModelAdmin of a task model: register the model with it, or subclass it."""
