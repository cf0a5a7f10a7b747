"""The admin's list of rows, its dates and filters, without a scan of tables of millions."""

import datetime
from calendar import monthrange
from functools import cached_property
from itertools import takewhile
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_lazy as _

from ..rows import clock, querysets, states
from ..watching import counts, time_ranges
from . import cells

MOST = 10_000  # rows that are counted, and paged through
RECENT = 2_000  # rows, the newest, whose channels are offered
PARTS = ("year", "month", "day")  # the levels of the dates
FORMATS = ("Y", "YEAR_MONTH_FORMAT", "MONTH_DAY_FORMAT")  # of their titles


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages of the first rows. A database takes a second to count some millions."""

    has_more = False  # rows behind the last page; known once the rows are counted

    @cached_property
    def count(self) -> int:
        """The number of rows, ``MOST`` where there are more."""
        rows: Any = self.object_list
        counted = int(rows.order_by()[: MOST + 1].count())
        self.has_more = counted > MOST
        return min(counted, MOST)


class TaskList(ChangeList):
    """The rows of a page, and the dates above them."""

    def get_filters(self, request: HttpRequest) -> Any:
        """Return what Django does, and note the time that the dates ask for."""
        try:
            filters: Any = super().get_filters(request)
        except (OverflowError, ValueError) as error:  # of a date that is none
            raise IncorrectLookupParameters(error) from error
        times = (filters[2].get(f"add_time__{name}", [None])[-1] for name in ("gte", "lt"))
        self.added = [time if isinstance(time, datetime.datetime) else None for time in times]
        return filters

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows that filters, dates and search leave."""
        try:
            rows: QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
            return time_ranges.narrow(rows, *self.added) if any(self.added) else rows
        except OverflowError as error:  # of a time at the end of the calendar
            raise IncorrectLookupParameters(error) from error

    @cached_property
    def hierarchy(self) -> dict[str, Any] | None:
        """Links to all years, months and days; to find those with rows, Django reads the table."""
        texts = (self.params.get(f"add_time__{part}", "") for part in PARTS)
        chosen = [int(text) for text in takewhile(bool, texts)]
        today = cells.local(timezone.now()).date()
        level, back = len(chosen), None
        if chosen:
            first = datetime.date(*[*chosen, 1, 1][:3])
            title = _title(first, level - 2) if level > 1 else translate("All dates")
            back = {"link": self._link(first, level - 1), "title": title}
        else:
            key = "pk" if time_ranges.is_counted(self.model) else "add_time"
            added = self.root_queryset.order_by(key).values_list("add_time", flat=True).first()
            if added is None:
                return None
            first = cells.local(added).date()
            if first.year == today.year:  # months will do, or the days of this one
                level = 1 if first.month < today.month else 2
        if level == len(PARTS):
            return {"back": back, "choices": [{"title": _title(first, level - 1)}]}
        choices = [
            {"link": self._link(date, level + 1), "title": _title(date, level)}
            for date in _dates(first, today, level)
            if date <= today
        ]
        return {"back": back, "choices": choices}

    def _link(self, date: datetime.date, count: int) -> str:
        """Return the link to the date's year, month and day, or the first of these."""
        lookups = {f"add_time__{part}": getattr(date, part) for part in PARTS[:count]}
        return self.get_query_string(lookups, ["add_time__"])


def _dates(first: datetime.date, today: datetime.date, level: int) -> list[datetime.date]:
    """Return from the first date on the years until today, its year's months, or month's days."""
    if level == 0:
        return [datetime.date(year, 1, 1) for year in range(first.year, today.year + 1)]
    if level == 1:
        return [datetime.date(first.year, month, 1) for month in range(first.month, 13)]
    last = monthrange(first.year, first.month)[1]
    return [first.replace(day=day) for day in range(first.day, last + 1)]


def _title(date: datetime.date, level: int) -> str:
    return capfirst(formats.date_format(date, FORMATS[level]))


class StaleFilter(admin.SimpleListFilter):
    """Rows past their ``auto_reset_time``: DOING ones to reset, READY ones to publish again."""

    title = _("lease")
    parameter_name = "stale"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return [("lease", _("Lease is over")), ("waiting", _("Due to be published again"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the choice."""
        now = clock.now(queryset.db)
        if self.value() == "lease":
            return queryset.filter(status=states.DOING, auto_reset_time__lt=now)
        if self.value() == "waiting":
            return queryset.filter(states.due(now), status=states.READY)
        return queryset


class AttemptFilter(admin.SimpleListFilter):
    """Rows of a durable model that are tried again, or wait for their time."""

    title = _("attempt")
    parameter_name = "attempt"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices; none for a model that does not remember."""
        names = ("retrying", "scheduled") if model_admin.model._is_durable else ()
        return [(name, cells.LOOKS[name][0]) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the choice."""
        if self.value() == "retrying":
            return queryset.filter(counts.is_retrying())
        if self.value() == "scheduled":
            return queryset.filter(counts.is_scheduled(clock.now(queryset.db)))
        return queryset


class ChannelFilter(admin.SimpleListFilter):
    """Rows of a channel. The channels of the newest rows are offered."""

    title = _("channel")
    parameter_name = "channel"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the channels; none where no column holds the channel."""
        column = querysets.channel_column(model_admin.model)
        if column is None:
            return []
        rows = model_admin.get_queryset(request).order_by("-pk")
        values = {*rows.values_list(column.name, flat=True)[:RECENT], self.value()}
        channels = {"default" if value in (None, "") else str(value) for value in values}
        return [(channel, channel) for channel in sorted(channels)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the channel."""
        channel = self.value()
        column = querysets.channel_column(queryset.model)
        if channel is None or column is None:
            return queryset
        if "\0" in channel:  # which no database holds
            return queryset.none()
        unset = Q(**{column.name: None})
        if isinstance(column, (models.CharField, models.TextField)):
            unset |= Q(**{f"{column.name}__in": ["", "default"]})
        try:
            return queryset.filter(unset if channel == "default" else Q(**{column.name: channel}))
        except (ValueError, ValidationError) as error:  # of a column of numbers, say
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
        span = (None, moment) if name.startswith("over-") else (moment, None)
        return time_ranges.added(queryset, *span)
