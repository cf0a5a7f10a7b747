"""Make rows READY again, whatever they were, and publish them."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_noop, ngettext_lazy

from ...publishing import publisher
from ...recovery import lost_runs
from ...rows import resetting
from ..selection import Part, SelectionCommand


class Command(SelectionCommand):
    """``manage.py simpletask2_reset app.Model …``: rows run anew."""

    help = gettext_noop(
        "Makes the selected rows READY, as if they had never run, and publishes them. "
        "A run under way loses its claim. Ctrl-C ends it after the page of rows at hand."
    )
    question = ngettext_lazy(
        "{count} row will run again; a run under way loses its claim.",
        "{count} rows will run again; runs under way lose their claims.",
        "count",
    )
    summary = ngettext_lazy("{count} row was reset.", "{count} rows were reset.", "count")

    def add_arguments(self, parser: CommandParser) -> None:
        """Take --all besides, for all rows of a model."""
        super().add_arguments(parser)
        text = translate("all rows, without a selection")
        parser.add_argument("--all", action="store_true", help=text)

    def parts(self, options: dict[str, Any]) -> list[Part]:
        """Return the rows. Raises CommandError for all rows of a model without --all."""
        if not (options["ids"] or options["filter"] or options["all"]):
            raise CommandError(translate("Select rows with --ids or --filter, or give --all."))
        return super().parts(options)

    def work(self, part: Part, options: dict[str, Any]) -> Iterator[int]:
        """Reset and publish a page at a time."""
        for changed, page in resetting.reset_pages(part.rows, part.still):
            publisher.publish_on_commit(page, using=part.using)
            lost_runs.forget(page)
            yield changed
