"""Delete DONE rows that are old."""

import datetime
import re
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError, connections, transaction
from django.db.models import PROTECT, Exists, F, OuterRef, Q
from django.db.models.deletion import get_candidate_relations_to_delete
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_noop, ngettext_lazy

from ...rows import clock, querysets, states
from ..selection import Part, SelectionCommand

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}


class Command(SelectionCommand):
    """``manage.py simpletask2_prune app.Model … --older-than 30d``: a page at a time."""

    help = gettext_noop(
        "Deletes the DONE rows among those selected that ended long ago, with what Django "
        "deletes along with them; rows that others protect are left. Ctrl-C ends it after "
        "the page of rows at hand."
    )
    question = ngettext_lazy(
        "{count} row will be deleted.", "{count} rows will be deleted.", "count"
    )
    summary = ngettext_lazy("{count} row was deleted.", "{count} rows were deleted.", "count")
    summary_of_kept = ngettext_lazy(
        "{count} row was left: other rows protect it.",
        "{count} rows were left: other rows protect them.",
        "count",
    )
    kept = 0

    def add_arguments(self, parser: CommandParser) -> None:
        """Take --older-than and --only besides."""
        super().add_arguments(parser)
        text = translate("30d, 12h, 45m (days, hours, minutes) or a day as 2026-01-31")
        parser.add_argument("--older-than", required=True, metavar="AGE", help=text)
        text = translate("only the rows that succeeded, or those that failed")
        parser.add_argument("--only", choices=("success", "failed"), help=text)

    def parts(self, options: dict[str, Any]) -> list[Part]:
        """Return the old DONE rows. Raises CommandError for what is no age."""
        self.kept = 0
        parts, ended = super().parts(options), {"status": states.DONE}
        if options["only"]:
            ended["success"] = options["only"] == "success"
        age = options["older_than"]
        return [part.narrow(done_time__lt=_limit(age, part), **ended) for part in parts]

    def work(self, part: Part, options: dict[str, Any]) -> Iterator[int]:
        """Delete a page at a time, but for the rows that others protect."""
        size = querysets.page_size(part.model)
        keys = part.rows.order_by("pk").values_list("pk", flat=True)
        page = list(keys[:size])
        while page:
            yield from self._delete(part, page)
            page = list(keys.filter(pk__gt=page[-1])[:size])

    def _delete(self, part: Part, keys: list[Any]) -> Iterator[int]:
        """Delete rows: all at once, or if others protect some, the rest of them in halves.

        Django does not tell which rows are protected through the rows deleted with them.
        """
        try:
            yield delete(part, keys)
            return
        except IntegrityError:  # of which Django's ProtectedError is one
            rows = part.rows.filter(_protected(part), pk__in=keys)
        protected = set(rows.values_list("pk", flat=True)) if len(keys) > 1 else {*keys}
        self.kept += len(protected)
        rest = [key for key in keys if key not in protected]
        for half in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
            if half:
                yield from self._delete(part, half)

    def result(self) -> str:
        """Return how many rows were deleted, and how many could not be."""
        kept = f" {self.summary_of_kept.format(count=self.kept)}" if self.kept else ""
        return super().result() + kept


def delete(part: Part, keys: list[Any]) -> int:
    """Delete those of the rows that are still selected, all or none; return their number.

    Raises IntegrityError where other rows protect one.
    """
    with transaction.atomic(part.using):
        rows = querysets.owned(part.model, part.using).filter(part.still, pk__in=keys)
        if connections[part.using].features.has_select_for_update:
            rows = rows.order_by("pk").select_for_update()
        else:
            rows.update(mod_time=F("mod_time"))  # which locks all of SQLite
        locked = list(rows.values_list("pk", flat=True))
        part.model._base_manager.using(part.using).filter(pk__in=locked).delete()
    return len(locked)


def _protected(part: Part) -> Q:
    """Return the condition that another row refers to a row with on_delete=PROTECT."""
    protected = Q(pk__in=[])
    meta: Any = part.model._meta
    relation: Any
    for relation in get_candidate_relations_to_delete(meta):
        if relation.on_delete is PROTECT:
            others = relation.related_model._base_manager.using(part.using)
            here = {relation.field.name: OuterRef(relation.field.target_field.name)}
            protected |= Q(Exists(others.filter(**here)))
    return protected


def _limit(age: str, part: Part) -> datetime.datetime:
    """Return the time before which a row must have ended. Raises CommandError."""
    try:
        if number := re.fullmatch(r"(\d+)([dhm])", age):
            ago = datetime.timedelta(**{_UNITS[number[2]]: int(number[1])})
            return clock.now(part.using) - ago
        day = datetime.date.fromisoformat(age)
        return clock.stored(datetime.datetime.combine(day, datetime.time()))
    except (ValueError, OverflowError):
        text = translate("--older-than takes 30d, 12h, 45m or a day as 2026-01-31, not {age}.")
        raise CommandError(text.format(age=age)) from None
