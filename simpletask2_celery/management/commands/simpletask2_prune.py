"""Delete DONE rows that are old."""

import datetime
import re
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError, connections, transaction
from django.db.models import PROTECT, Exists, OuterRef, Q
from django.db.models.deletion import get_candidate_relations_to_delete
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_noop, ngettext

from ...rows import clock, querysets, states
from ..selection import Part, SelectionCommand, aware

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class Command(SelectionCommand):
    """``manage.py simpletask2_prune app.Model … --older-than 30d``: a page at a time."""

    help = gettext_noop(
        "Deletes the DONE rows among those selected that ended long ago, with what Django "
        "deletes along with them; rows that others protect are left. Ctrl-C ends it after "
        "the page of rows at hand."
    )
    kept = 0

    def add_arguments(self, parser: CommandParser) -> None:
        """Take --older-than and --only besides."""
        super().add_arguments(parser)
        parser.add_argument(
            "--older-than",
            required=True,
            metavar="AGE",
            help=translate("30d, 12h, 45m (days, hours, minutes) or a day as 2026-01-31"),
        )
        parser.add_argument(
            "--only",
            choices=("success", "failed"),
            help=translate("only the rows that succeeded, or those that failed"),
        )

    def parts(self, options: dict[str, Any]) -> list[Part]:
        """Return the old DONE rows. Raises CommandError for what is no age."""
        self.kept = 0
        age = options["older_than"]
        ended = {"success": options["only"] == "success"} if options["only"] else {}
        return [
            part.narrow(status=states.DONE, done_time__lt=_limit(age, part), **ended)
            for part in super().parts(options)
        ]

    def work(self, part: Part, options: dict[str, Any]) -> Iterator[int]:
        """Delete a page at a time, without those rows of it that others protect."""
        size = querysets.page_size(part.model)
        found = part.rows.order_by("pk").values_list("pk", flat=True)
        page = list(found[:size])
        while page:
            try:
                yield _delete(part, page)
            except IntegrityError:  # of which Django's ProtectedError is one
                yield from self._unprotected(part, page)
            page = list(found.filter(pk__gt=page[-1])[:size])

    def _unprotected(self, part: Part, page: list[Any]) -> Iterator[int]:
        """Delete a page but for the rows that others refer to; else in halves.

        Django does not tell which rows are protected by way of what goes with them.
        """
        rows = part.rows.filter(_protected(part), pk__in=page)
        protected = set(rows.values_list("pk", flat=True))
        self.kept += len(protected)
        left = [key for key in page if key not in protected]
        for half in (left[: len(left) // 2], left[len(left) // 2 :]):
            try:
                yield _delete(part, half) if half else 0
            except IntegrityError:
                if len(half) > 1:
                    yield from self._unprotected(part, half)
                else:
                    self.kept += 1

    def question(self, count: int) -> str:
        """Return how many rows it is about."""
        text = ngettext("{count} row will be deleted.", "{count} rows will be deleted.", count)
        return text.format(count=count)

    def summary(self, count: int) -> str:
        """Return how many rows were deleted, and how many could not be."""
        text = ngettext("{count} row was deleted.", "{count} rows were deleted.", count)
        said = text.format(count=count)
        if not self.kept:
            return said
        left = ngettext(
            "{count} row was left: other rows protect it.",
            "{count} rows were left: other rows protect them.",
            self.kept,
        )
        return f"{said} {left.format(count=self.kept)}"


def _delete(part: Part, keys: list[Any]) -> int:
    """Delete those of the rows that are still to be deleted, all or none.

    Raises IntegrityError where other rows protect one.
    """
    with transaction.atomic(part.using):
        rows = querysets.owned(part.model, part.using).filter(part.still, pk__in=keys)
        if connections[part.using].features.has_select_for_update:
            rows = rows.order_by("pk").select_for_update()
        else:
            rows.update(status=states.DONE)  # which locks all of SQLite
        locked = list(rows.values_list("pk", flat=True))
        part.model._base_manager.using(part.using).filter(pk__in=locked).delete()
    return len(locked)


def _protected(part: Part) -> Q:
    """Return what is true of a row that others refer to with on_delete=PROTECT."""
    protected = Q(pk__in=[])
    meta: Any = part.model._meta
    relation: Any
    for relation in get_candidate_relations_to_delete(meta):
        if relation.on_delete is PROTECT:
            field = relation.field
            others = relation.related_model._base_manager.using(part.using)
            here = {field.name: OuterRef(field.target_field.name)}
            protected |= Q(Exists(others.filter(**here)))
    return protected


def _limit(age: str, part: Part) -> datetime.datetime:
    """Return the time before which a row must have ended. Raises CommandError."""
    found = re.fullmatch(r"(\d+)([dhm])", age)
    try:
        if found:
            ago = datetime.timedelta(**{_UNITS[found[2]]: int(found[1])})
            return clock.now(part.using) - ago
        day = datetime.date.fromisoformat(age)
        limit: datetime.datetime = aware(datetime.datetime.combine(day, datetime.time()))
        return limit
    except (ValueError, OverflowError):
        text = translate("--older-than takes 30d, 12h, 45m or a day as 2026-01-31, not {age}.")
        raise CommandError(text.format(age=age)) from None
