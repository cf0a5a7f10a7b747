"""``manage.py simpletask2_status``: what rows, queues and workers do, as a table."""

import json
import sys
import time
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as translate

from ...admin import cells
from ...watching import figures, queues
from ..terminal import INTERRUPTED, Interrupt

WIDTH = 24  # characters of a progress bar
MEMORY = ("retrying", "scheduled")  # counts that durable models alone have

#: {(model, database): time and rows that were not DONE, when the backlog was first seen}
First = dict[tuple[str, str], tuple[float, int]]


class Command(BaseCommand):
    """Show the figures of the dashboard, once or again and again."""

    help = "Show what rows, queues and workers do."

    def add_arguments(self, parser: Any) -> None:
        """Add --watch and --json."""
        text = translate("again every so many seconds (2), until Ctrl-C")
        watch = {"nargs": "?", "type": float, "const": 2.0, "metavar": "SECONDS"}
        parser.add_argument("--watch", help=text, **watch)
        parser.add_argument("--json", action="store_true", help=translate("for machines"))

    def handle(self, *args: Any, **options: Any) -> None:
        """Show them; with --watch, where a backlog has begun and when it will be empty."""
        try:
            # SQLite makes a failed query of a KeyboardInterrupt that is raised in a Python
            # function that it calls, and the watch would go on: it asks whether one came.
            with Interrupt(raises=True) as interrupt:
                self._watch(options["json"], options["watch"], interrupt)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def _watch(self, as_json: bool, seconds: float | None, interrupt: Interrupt) -> None:
        """Show them once, or until Ctrl-C, and raise KeyboardInterrupt then.

        The loop is in a function of its own: from Python 3.12, what a signal raises at the end of
        a loop's turn is not caught by the ``try`` around the loop, but by a caller's.
        """
        first: First = {}
        self._show(as_json, first)
        while seconds is not None and not interrupt.came:
            time.sleep(max(seconds, 0.1))
            self._show(as_json, first)
        if interrupt.came:
            raise KeyboardInterrupt

    def _show(self, as_json: bool, first: First) -> None:
        now = figures.read()
        if as_json:
            values = asdict(now)
            for table in values["models"]:
                table["model"] = table["model"]._meta.label_lower
            self.stdout.write(json.dumps(values, default=str))
            return
        text = "\n".join([*_head(now), "", *_lines(now), *_pace(now, first)])
        # On a terminal in place of the one before.
        self.stdout.write(f"\x1b[H\x1b[2J{text}" if self.stdout.isatty() else f"{text}\n")


def _pace(now: figures.Figures, first: First) -> list[str]:
    """Return a bar, a rate and an end for each table whose backlog drains."""
    lines = []
    for table in now.models:
        if table.total is None:
            continue
        at, left = time.monotonic(), table.total.ready + table.total.doing
        begun, most = first.setdefault((table.name, table.using), (at, left))
        if left > most or not left:
            first[table.name, table.using] = at, left
        elif at > begun and left < most:
            rate = (most - left) / (at - begun)
            text = translate("{name} {bar} {percent} %, {rate} a second, {time} left")
            line = text.format(
                name=table.name,
                bar=("█" * (WIDTH * (most - left) // most)).ljust(WIDTH, "░"),
                percent=100 * (most - left) // most,
                rate=f"{rate:.1f}",
                time=cells.duration(left / rate),
            )
            lines.append(line)
    return ["", *lines] if lines else []


def _head(now: figures.Figures) -> list[str]:
    broker = translate("answers")
    if now.broker is not None:
        broker = translate("is down ({reason})").format(reason=translate(now.broker))
    workers = in_queues = unserved = reset = translate("not known")
    if now.workers is not None:
        workers = " ".join([str(len(now.workers)), *now.workers])
    if now.queues is not None:
        in_queues = ", ".join(f"{name}: {count:g}" for name, count in now.queues.items())
    if now.served is not None:
        unserved = queues.names(now.unserved) or translate("none")
    if now.last_reset is not None:
        reset = translate("{time} ago").format(time=cells.duration(now.last_reset))
    lines = [
        (translate("Broker"), broker),
        (translate("Workers online"), workers),
        (translate("Messages in queues"), in_queues),
        (translate("Queues without a worker"), unserved),
        (translate("Last auto-reset"), reset),
    ]
    return [f"{title}: {text}" for title, text in lines]


def _lines(now: figures.Figures) -> list[str]:
    looks = ("ready", "doing", "stale", "done", "failed")
    head = [translate("Task"), translate("Channel")]
    memory = MEMORY if any(table.model._is_durable for table in now.models) else ()
    head += [str(cells.LOOKS[look][0]) for look in (*looks, *memory)]
    lines = [[*head, translate("Oldest ready row"), translate("a minute")]]
    for table in now.models:
        if table.total is None:
            lines.append([table.label, translate(str(table.problem))])
            continue
        rate = sum(bucket.done for bucket in (table.hour or [])[-6:-1]) / 5
        lines.append([table.label, "", *_cells(table, table.total, memory), f"{rate:.1f}"])
        for kind in table.kinds:
            lines.append([f"  {kind.name}", "", *_cells(table, kind, memory)])
        if getattr(table.model, "channel_field", None):
            for counts in table.channels:
                channel = counts.channel or translate("all others")
                lines.append(["", channel, *_cells(table, counts, memory)])
    columns = zip_longest(*lines, fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _cells(
    table: figures.ModelFigures, counts: figures.Counts, memory: tuple[str, ...]
) -> list[str]:
    about = "≈" if counts.is_estimate else ""
    done = "–" if counts.done is None else f"{about}{counts.done}"
    failed = "–" if counts.failed is None else str(counts.failed)
    oldest = cells.duration(counts.oldest_ready_seconds)
    of_memory = [str(getattr(counts, name)) if table.model._is_durable else "–" for name in memory]
    open_rows = map(str, (counts.ready, counts.doing, counts.stale))
    return [*open_rows, done, failed, *of_memory, oldest]
