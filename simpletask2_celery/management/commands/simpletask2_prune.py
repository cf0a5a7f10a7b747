"""Delete DONE rows that are old."""

import datetime
import re
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_noop, ngettext_lazy

from ...recovery import pruning
from ...rows import clock, states
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
    prunings: list[pruning.Pruning]

    def add_arguments(self, parser: CommandParser) -> None:
        """Take --older-than and --only besides."""
        super().add_arguments(parser)
        text = translate("30d, 12h, 45m (days, hours, minutes) or a day as 2026-01-31")
        parser.add_argument("--older-than", required=True, metavar="AGE", help=text)
        text = translate("only the rows that succeeded, or those that failed")
        parser.add_argument("--only", choices=("success", "failed"), help=text)

    def parts(self, options: dict[str, Any]) -> list[Part]:
        """Return the old DONE rows. Raises CommandError for what is no age."""
        self.prunings = []
        parts, ended = super().parts(options), {"status": states.DONE}
        if options["only"]:
            ended["success"] = options["only"] == "success"
        age = options["older_than"]
        return [part.narrow(done_time__lt=_limit(age, part), **ended) for part in parts]

    def work(self, part: Part, options: dict[str, Any]) -> Iterator[int]:
        """Delete a page at a time, but for the rows that others protect."""
        self.prunings.append(pruning.Pruning(part.rows, part.still))
        return self.prunings[-1].pages()

    def result(self) -> str:
        """Return how many rows were deleted, and how many could not be."""
        kept = sum(one.kept for one in self.prunings)
        more = f" {self.summary_of_kept.format(count=kept)}" if kept else ""
        return super().result() + more


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
