"""Run one auto-reset here and now, as from cron."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...recovery import auto_reset


class Command(BaseCommand):
    """``manage.py simpletask2_auto_reset``: the work of beat's entry, once."""

    help = "Resets and publishes the rows whose lease is over, for those without beat."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it and print a line for each model with rows that were reset.

        Raises CommandError, and so exits with 1, where a table could not be reset.
        """
        try:
            counts = auto_reset.run()
        except auto_reset.AutoResetFailed as error:
            raise CommandError(error) from error
        for name, number in counts.items():
            if number or options["verbosity"] > 1:
                self.stdout.write(f"{name}: {number}")
