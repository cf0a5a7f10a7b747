"""The admin's list of rows, made for tables of millions: no count, no scan of all."""

import datetime
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import formats, timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as translate

from ..watching import time_ranges

if TYPE_CHECKING:
    BasePaginator = Paginator[Any]
else:
    BasePaginator = Paginator

MOST = 10_000  # rows that are counted, and paged through


class BoundedPaginator(BasePaginator):
    """Pages of the first rows. A database takes a second to count some millions."""

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        return int(rows.order_by()[: MOST + 1].count())

    @cached_property
    def count(self) -> int:
        """The number of rows, ``MOST`` where there are more."""
        return min(self._counted, MOST)

    @property
    def has_more(self) -> bool:
        """Whether there are rows behind the last page."""
        return self._counted > MOST


class Hierarchy(NamedTuple):
    """The links of the dates, for Django's template."""

    back: dict[str, str] | None
    choices: list[dict[str, str]]


class TaskList(ChangeList):
    """The rows of a page, and the dates above them."""

    since: datetime.datetime | None = None
    until: datetime.datetime | None = None

    def get_filters(self, request: HttpRequest) -> Any:
        """Return what Django does, and note the time that the dates ask for.

        Raises IncorrectLookupParameters for dates that are none.
        """
        try:
            found: Any = super().get_filters(request)
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters(error) from error
        for name, lookup in (("since", "add_time__gte"), ("until", "add_time__lt")):
            value = found[2].get(lookup, [None])[-1]
            setattr(self, name, value if isinstance(value, datetime.datetime) else None)
        return found

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Return the rows that filters, dates and search leave."""
        try:
            rows: QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
            if self.since or self.until:
                rows = time_ranges.narrow(rows, self.since, self.until)
        except OverflowError as error:
            raise IncorrectLookupParameters(error) from error
        return rows

    @cached_property
    def hierarchy(self) -> Hierarchy | None:
        """The links to years, months and days: of the calendar, whether rows or none.

        Django asks the whole table for those that have rows.
        """
        given = [self.params.get(f"add_time__{part}") for part in ("year", "month", "day")]
        year, month, day = (int(text) if text else None for text in given)
        now = _local(timezone.now())
        if year is None:
            return self._top(now)
        if month is None:
            back = {"link": self._link(), "title": translate("All dates")}
            return Hierarchy(back, list(self._months(year, now)))
        if day is None:
            back = {"link": self._link(year), "title": str(year)}
            return Hierarchy(back, list(self._days(year, month, now)))
        title = _title(datetime.date(year, month, 1), "YEAR_MONTH_FORMAT")
        here = {"title": _title(datetime.date(year, month, day), "MONTH_DAY_FORMAT")}
        return Hierarchy({"link": self._link(year, month), "title": title}, [here])

    def _top(self, now: datetime.datetime) -> Hierarchy | None:
        """From the first row on, which may be of this year, or of this month."""
        key = "pk" if time_ranges.is_counted(self.model) else "add_time"
        rows = self.root_queryset.order_by(key).values_list("add_time", flat=True)
        first = rows.first()
        if first is None:
            return None
        first = _local(first)
        if first.year < now.year:
            years = range(first.year, now.year + 1)
            choices = [{"link": self._link(year), "title": str(year)} for year in years]
        elif first.month < now.month:
            choices = list(self._months(now.year, now, first.month))
        else:
            choices = list(self._days(now.year, now.month, now, first.day))
        return Hierarchy(None, choices)

    def _months(
        self, year: int, now: datetime.datetime, first: int = 1
    ) -> Iterator[dict[str, str]]:
        for month in range(first, 13):
            date = datetime.date(year, month, 1)
            if date <= now.date():
                title = _title(date, "YEAR_MONTH_FORMAT")
                yield {"link": self._link(year, month), "title": title}

    def _days(
        self, year: int, month: int, now: datetime.datetime, first: int = 1
    ) -> Iterator[dict[str, str]]:
        date = datetime.date(year, month, first)
        while date.month == month and date <= now.date():
            title = _title(date, "MONTH_DAY_FORMAT")
            yield {"link": self._link(year, month, date.day), "title": title}
            date += datetime.timedelta(days=1)

    def _link(self, *date: int) -> str:
        parts = zip(("year", "month", "day"), date, strict=False)
        asked = {f"add_time__{part}": number for part, number in parts}
        return self.get_query_string(asked, ["add_time__"])


def _local(moment: datetime.datetime) -> datetime.datetime:
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment


def _title(date: datetime.date, form: str) -> str:
    return capfirst(formats.date_format(date, form))
