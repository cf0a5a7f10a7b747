"""Say whether databases, broker, workers, queues and resets are well."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from ... import health


class Command(BaseCommand):
    """``manage.py simpletask2_health [--json]``: exit code 0 where all is well, else 1."""

    help = (
        "A line each for databases, broker, workers, queues that no worker serves, the oldest "
        "READY row, rows past their lease and the last auto-reset. Exit code 1 if one is not well."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take --json, --timeout and --max-wait."""
        parser.add_argument("--json", action="store_true", help="print JSON")
        text = "seconds to wait for workers"
        parser.add_argument("--timeout", type=float, default=1.0, help=text)
        text = "seconds that a READY row may wait, in any queue (without: any number)"
        parser.add_argument("--max-wait", type=float, metavar="SECONDS", help=text)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings and exit."""
        findings = health.check(options["timeout"], options["max_wait"])
        well = all(finding.ok for finding in findings)
        if options["json"]:
            by_name = {finding.name: asdict(finding) for finding in findings}
            self.stdout.write(json.dumps({"ok": well, "findings": by_name}))
        else:
            for finding in findings:
                mark = "ok  " if finding.ok else "FAIL"
                self.stdout.write(f"{mark} {finding.name}: {finding.text}")
        sys.exit(0 if well else 1)
