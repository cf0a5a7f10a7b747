"""Publish READY rows, for those whose messages are lost."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as translate
from django.utils.translation import gettext_noop, ngettext_lazy

from ...publishing import publisher
from ...rows import querysets, states
from ..selection import Part, SelectionCommand


class Command(SelectionCommand):
    """``manage.py simpletask2_publish app.Model …``: READY rows get a message each."""

    help = gettext_noop(
        "Publishes the READY rows among those selected. A row that has a message already "
        "runs once all the same. Ctrl-C ends it after the page of rows at hand."
    )
    summary = ngettext_lazy("{count} row was published.", "{count} rows were published.", "count")

    def add_arguments(self, parser: CommandParser) -> None:
        """Take --chunk besides."""
        super().add_arguments(parser)
        text = translate("rows that a message carries at most")
        parser.add_argument("--chunk", type=int, default=1, help=text)

    def parts(self, options: dict[str, Any]) -> list[Part]:
        """Return the READY rows. Raises CommandError for what cannot be a chunk."""
        try:
            publisher.check_chunk(options["chunk"])
        except (TypeError, ValueError) as error:
            raise CommandError(str(error)) from None
        return [part.narrow(status=states.READY) for part in super().parts(options)]

    def work(self, part: Part, options: dict[str, Any]) -> Iterator[int]:
        """Publish a page at a time. Raises CommandError where the broker fails."""
        for page in querysets.pages(part.rows):
            count = publisher.publish_on_commit(page, options["chunk"], using=part.using)
            if publisher.has_failed():
                text = translate("The broker fails: auto-reset will publish the others.")
                raise CommandError(f"{self.result()} {text}")
            yield count
