"""Move the original's Redis lists into Celery's queues, in a process of its own."""

import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...conf import conf
from ...legacy.mover import Mover


class Command(BaseCommand):
    """``manage.py simpletask2_legacy_channels [CHANNEL …]``; SIGTERM or Ctrl-C ends it."""

    help = (
        "Moves what old producers push to the Redis lists into Celery's queues, as the "
        "workers do where DJANGO_SIMPLETASK2_LEGACY_CHANNELS is set. Ctrl-C ends it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the channels; the setting's by default."""
        parser.add_argument("channels", nargs="*", metavar="CHANNEL")

    def handle(self, *args: Any, **options: Any) -> None:
        """Move entries until a signal comes. Raises CommandError without a channel."""
        channels = options["channels"] or conf.legacy_channels
        if not channels:
            raise CommandError(
                'Name the channels, as "simpletask2_legacy_channels default mail", or '
                "set DJANGO_SIMPLETASK2_LEGACY_CHANNELS."
            )
        mover = Mover(channels)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: mover.stop())
        self.stdout.write(f"Moving the Redis lists of {', '.join(channels)}.")
        mover.run()
