"""The admin of task models: see what they do, why one is stuck, and put it right.

admin.site.register(HelloTask, SimpleTaskAdmin)
"""

import re
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..rows import clock, states
from ..rows.states import STATE_FIELDS
from ..watching import time_ranges
from . import cells, dashboard, timeline
from .actions import ACTIONS
from .changelist import BoundedPaginator, TaskList
from .filters import AgeFilter, ChannelFilter, StaleFilter

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[Any]
    BaseMixin = BaseAdmin
else:
    BaseAdmin = admin.ModelAdmin
    BaseMixin = object

#: The buttons of a row's page: the action, its words, and the states that it is for.
BUTTONS = [
    ("publish_selected_tasks", _("Publish again"), {states.READY}),
    ("reset_selected_tasks", _("Reset and publish"), {states.DOING, states.DONE}),
    ("stop_selected_tasks", _("Stop"), {states.READY, states.DOING}),
]


class SimpleTaskAdminMixin(BaseMixin):
    """What makes a ModelAdmin one of tasks; put it before the ModelAdmin.

    A subclass may set any attribute of a ModelAdmin as usual, as
    ``list_display = [*SimpleTaskAdmin.list_display, "name"]``. The columns are
    ``task_name``, ``task_state``, ``task_steps``, ``task_lease``, ``task_wait``,
    ``task_run``, ``task_added`` and ``task_channel``.
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
    list_filter = ["status", "success", StaleFilter, ChannelFilter, AgeFilter]
    search_fields = ["pk"]
    date_hierarchy = "add_time"
    actions = ACTIONS
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # which count the whole table, once a choice
    change_list_template = "simpletask2_celery/change_list.html"
    change_form_template = "simpletask2_celery/change_form.html"

    class Media:
        """The looks, and a script that lets countdowns run; both work on their own."""

        css = {"all": ["simpletask2_celery/simpletask2.css"]}
        js = ["simpletask2_celery/simpletask2.js"]

    # -- columns -------------------------------------------------------------------

    @admin.display(description=_("Task"), ordering="pk")
    def task_name(self, row: Any) -> str:
        """Return what the model calls the row, or its kind and key."""
        own_words: Any = type(row).__str__
        if own_words is Model.__str__:
            return f"{self.opts.verbose_name} {row.pk}"
        return str(row)

    @admin.display(description=_("State"))
    def task_state(self, row: Any) -> SafeString:
        """Return the row's state as a badge."""
        return cells.badge(cells.look(row, _now(row)))

    @admin.display(description=_("Step"))
    def task_steps(self, row: Any) -> SafeString:
        """Return the row's progress as "1/2" and a bar."""
        return cells.progress(row, cells.look(row, _now(row)))

    @admin.display(description=_("Lease"))
    def task_lease(self, row: Any) -> SafeString | None:
        """Return how long the row's lease lasts, or when it is published again."""
        return cells.lease(row, _now(row))

    @admin.display(description=_("Waited"))
    def task_wait(self, row: Any) -> str:
        """Return how long the row has waited, since it was made."""
        return cells.duration(cells.waited(row, _now(row)))

    @admin.display(description=_("Ran"))
    def task_run(self, row: Any) -> str | None:
        """Return how long the row's run has taken until now."""
        seconds = cells.ran(row, _now(row))
        return None if seconds is None else cells.duration(seconds)

    @admin.display(description=_("Created"))
    def task_added(self, row: Any) -> str:
        """Return when the row was made."""
        return cells.moment(row.add_time)

    @admin.display(description=_("Channel"))
    def task_channel(self, row: Any) -> str:
        """Return the row's channel."""
        return str(row.get_channel_name())

    # -- the list ------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[TaskList]:
        """Return the list that is fast on large tables."""
        return TaskList

    def get_ordering(self, request: HttpRequest) -> Any:
        """Return the user's ordering, or the newest first: by a counted key, or by time."""
        newest = ["-pk"] if time_ranges.is_counted(self.model) else ["-add_time"]
        return super().get_ordering(request) or self.opts.ordering or newest

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by key, and by the fields that a subclass names beside it."""
        if not search_term:
            return queryset, False
        by_key = queryset.filter(pk__in=self._keys_in(search_term))
        if list(self.get_search_fields(request)) == ["pk"]:
            return by_key, False
        found, twice = super().get_search_results(request, queryset, search_term)
        return found | by_key, twice

    def _keys_in(self, text: str) -> set[Any]:
        """Return the keys that a text names, in one of the ways that logs write them."""
        key: Any = self.opts.pk
        while key.remote_field:
            key = key.target_field
        keys = set()
        for part in {text.strip(), *re.split(r"[\s,]+", text.strip())}:
            name = part.removeprefix(f"{self.opts.label_lower}:")
            try:
                keys.add(key.clean(name, None))
            except ValidationError:  # names no row
                continue
        return keys

    def get_urls(self) -> Any:
        """Return the model's URLs and the dashboard's, which is of all models."""
        return [*dashboard.url_patterns(self.admin_site), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the list, with a link to the dashboard."""
        url = reverse(f"admin:{dashboard.NAME}", current_app=self.admin_site.name)
        context = {"dashboard_url": url, **(extra_context or {})}
        return super().changelist_view(request, context)

    # -- the page of a row ---------------------------------------------------------

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the user's, and those that only transitions write; of a row, its key."""
        fields = [*super().get_readonly_fields(request, obj)]
        key: Any = self.opts.pk
        if obj and key.formfield() is not None:  # another key would make another row
            fields.append(key.name)
        return list(dict.fromkeys([*fields, *self.model.SIMPLE_TASK_FIELDS]))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return the user's fieldsets, or his fields, and the columns of the state."""
        found = super().get_fieldsets(request, obj)
        if self.fieldsets or self.fields:
            return found
        columns = self.model.SIMPLE_TASK_FIELDS
        own = [name for name in self.get_fields(request, obj) if name not in columns]
        if obj is None:
            return [(None, {"fields": own})]
        kept = {"fields": list(columns), "classes": ["collapse"]}
        return [(None, {"fields": own}), (_("Columns of the state"), kept)]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save the row, but for its state: a worker may have taken it meanwhile."""
        if not change:
            return super().save_model(request, obj, form, change)
        fields = [field for field in self.opts.concrete_fields if not field.primary_key]
        obj.save(update_fields=[f.name for f in fields if f.attname not in STATE_FIELDS])

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """Show the row's page, with its timeline and buttons."""
        if obj is not None:
            context["task"] = self._shown(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _shown(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        now = _now(row)
        look = cells.look(row, now)
        allowed = self.get_actions(request)
        return {
            "badge": cells.badge(look),
            "steps": cells.progress(row, look),
            "lease": cells.lease(row, now),
            "wait": self.task_wait(row),
            "run": self.task_run(row),
            "channel": self.task_channel(row),
            "info": row.get_task_info(),
            "explanation": timeline.explanation(row, look, now),
            "lines": timeline.draw(row, now),
            "buttons": [
                (name, words)
                for name, words, states in BUTTONS
                if name in allowed
                and row.status in states
                and self.has_change_permission(request, row)
            ],
        }

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Run the action; go back to the row's page if its button was pressed there."""
        response = super().response_action(request, queryset, *args, **kwargs)
        if "_back" in request.POST and isinstance(response, HttpResponseRedirect):
            key = quote(request.POST["_selected_action"])
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            url = reverse(name, args=[key], current_app=self.admin_site.name)
            return HttpResponseRedirect(url)
        return response


class SimpleTaskAdmin(SimpleTaskAdminMixin, BaseAdmin):
    """The ModelAdmin of a task model: register the model with it, or subclass it."""


def _now(row: Any) -> Any:
    return clock.now(str(row._state.db))
