"""The admin's filters that are no column: lease, channel and age."""

import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..rows import clock, querysets, states
from ..watching import time_ranges

RECENT = 2_000  # rows, the newest, whose channels are offered


class StaleFilter(admin.SimpleListFilter):
    """Rows that the next auto-reset looks at, by what they wait for."""

    title = _("lease")
    parameter_name = "stale"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return [
            ("lease", _("Lease is over")),
            ("waiting", _("Due to be published again")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the choice."""
        now = clock.now(queryset.db)
        if self.value() == "lease":
            return queryset.filter(status=states.DOING, auto_reset_time__lt=now)
        if self.value() == "waiting":
            return queryset.filter(states.stale(now), status=states.READY)
        return queryset


class ChannelFilter(admin.SimpleListFilter):
    """Rows of a channel; those are offered that the newest rows have."""

    title = _("channel")
    parameter_name = "channel"

    def __init__(self, request: Any, params: Any, model: Any, model_admin: Any) -> None:
        """Find the column of the channel, before its values are asked for."""
        self._column = querysets.channel_column(model)
        super().__init__(request, params, model, model_admin)

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the channels."""
        if self._column is None:
            return []
        name = self._column.name
        rows = model_admin.get_queryset(request).order_by("-pk")
        values = set(rows.values_list(name, flat=True)[:RECENT])
        found = {"default" if value in (None, "") else str(value) for value in values}
        chosen = {self.value() or "default"}
        return [(channel, channel) for channel in sorted(found | chosen)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the channel."""
        channel = self.value()
        if channel is None or self._column is None:
            return queryset
        if "\0" in channel:  # which no database holds
            return queryset.none()
        name = self._column.name
        unset = Q(**{name: None})
        if isinstance(self._column, (models.CharField, models.TextField)):
            unset |= Q(**{name: ""}) | Q(**{name: "default"})
        if channel == "default":
            return queryset.filter(unset)
        try:
            return queryset.filter(**{name: channel})
        except (ValueError, ValidationError) as error:
            raise IncorrectLookupParameters(error) from error


class AgeFilter(admin.SimpleListFilter):
    """Rows by how long ago they were added."""

    title = _("age")
    parameter_name = "age"
    ages = {
        "hour": (_("Past hour"), datetime.timedelta(hours=1)),
        "day": (_("Past 24 hours"), datetime.timedelta(days=1)),
        "week": (_("Past 7 days"), datetime.timedelta(days=7)),
        "over-hour": (_("More than an hour"), datetime.timedelta(hours=1)),
        "over-day": (_("More than a day"), datetime.timedelta(days=1)),
        "over-week": (_("More than 7 days"), datetime.timedelta(days=7)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return [(name, title) for name, (title, _age) in self.ages.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the choice."""
        name = self.value()
        if name not in self.ages:
            return queryset
        moment = timezone.now() - self.ages[name][1]
        if name.startswith("over-"):
            return time_ranges.added(queryset, None, moment)
        return time_ranges.added(queryset, moment, None)
