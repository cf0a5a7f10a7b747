"""``manage.py simpletask2_status``: what rows, queues and workers do, as a table."""

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.translation import gettext as translate

from ...admin import cells
from ...watching import figures

WIDTH = 24  # characters of a progress bar


class Command(BaseCommand):
    """Show the figures of the dashboard, once or again and again."""

    help = "Show what rows, queues and workers do."

    def add_arguments(self, parser: Any) -> None:
        """Add --watch and --json."""
        parser.add_argument(
            "--watch",
            nargs="?",
            type=float,
            const=2.0,
            metavar="SECONDS",
            help=translate("again every so many seconds (2), until Ctrl-C"),
        )
        parser.add_argument("--json", action="store_true", help=translate("for machines"))

    def handle(self, *args: Any, **given: Any) -> None:
        """Show them; with --watch, where a backlog has begun and when it will be empty."""
        show = self._json if given["json"] else self._table
        backlog = Backlog()
        try:
            with _interruptible() as is_over:
                show(backlog)
                while given["watch"] is not None and not is_over():
                    time.sleep(max(given["watch"], 0.1))
                    show(backlog)
                if is_over():
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(130)

    def _json(self, backlog: "Backlog") -> None:
        found = asdict(figures.read())
        for one in found["models"]:
            one["model"] = one["model"]._meta.label_lower
        self.stdout.write(json.dumps(found, default=str))

    def _table(self, backlog: "Backlog") -> None:
        found = figures.read()
        text = "\n".join([*_head(found), "", *_lines(found), *backlog.lines(found)])
        if self.stdout.isatty():
            self.stdout.write("\x1b[H\x1b[2J" + text)  # in place of the one before
        else:
            self.stdout.write(text + "\n")


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed.

    It raises KeyboardInterrupt as ever; but SQLite, where it is raised in a function of
    Django's that SQLite calls, makes a failed query of it, and the watch would go on.
    """
    pressed = threading.Event()

    def press(number: int, frame: object) -> None:
        pressed.set()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set  # no other thread hears signals
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)


class Backlog:
    """How far the rows that wait have come since the first look."""

    def __init__(self) -> None:
        """Begin with the first look."""
        self._first: dict[tuple[str, str], tuple[float, int]] = {}

    def lines(self, found: figures.Figures) -> list[str]:
        """Return a bar, a rate and an end for each table whose backlog drains."""
        lines = []
        for one in found.models:
            if one.total is None:
                continue
            now, left = time.monotonic(), one.total.ready + one.total.doing
            begun, most = self._first.setdefault((one.name, one.using), (now, left))
            if left > most or not left:
                self._first[one.name, one.using] = now, left
            elif now > begun and left < most:
                lines.append(self._line(one.name, most, left, (most - left) / (now - begun)))
        return ["", *lines] if lines else []

    def _line(self, name: str, most: int, left: int, rate: float) -> str:
        full = WIDTH * (most - left) // most
        bar = "█" * full + "░" * (WIDTH - full)
        text = translate("{name} {bar} {percent} %, {rate} a second, {time} left")
        percent = 100 * (most - left) // most
        rest = cells.duration(left / rate)
        return text.format(name=name, bar=bar, percent=percent, rate=f"{rate:.1f}", time=rest)


def _head(found: figures.Figures) -> list[str]:
    broker = translate("answers")
    if found.broker is not None:
        broker = translate("is down ({reason})").format(reason=translate(found.broker))
    workers = translate("not known")
    if found.workers is not None:
        workers = " ".join([str(len(found.workers)), *found.workers])
    queues = translate("not known")
    if found.queues is not None:
        queues = ", ".join(f"{name}: {count:g}" for name, count in found.queues.items())
    reset = translate("not known")
    if found.last_reset is not None:
        reset = translate("{time} ago").format(time=cells.duration(found.last_reset))
    facts = {
        translate("Broker"): broker,
        translate("Workers online"): workers,
        translate("Messages in queues"): queues,
        translate("Last auto-reset"): reset,
    }
    return [f"{name}: {fact}" for name, fact in facts.items()]


def _lines(found: figures.Figures) -> list[str]:
    head = [translate("Task"), translate("Channel")]
    head += [str(cells.LOOKS[look][0]) for look in ("ready", "doing", "stale")]
    head += [str(cells.LOOKS[look][0]) for look in ("done", "failed")]
    head += [translate("Oldest ready row"), translate("a minute")]
    lines = [head]
    for one in found.models:
        if one.total is None:
            lines.append([one.label, translate(str(one.problem))])
            continue
        rate = sum(bucket.done for bucket in (one.hour or [])[-6:-1]) / 5
        lines.append([one.label, "", *_cells(one.total), f"{rate:.1f}"])
        if getattr(one.model, "channel_field", None):
            for counts in one.channels:
                channel = counts.channel or translate("all others")
                lines.append(["", channel, *_cells(counts)])
    columns = zip_longest(*lines, fillvalue="")
    widths = [max(map(len, column)) for column in columns]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]


def _cells(counts: figures.Counts) -> list[str]:
    about = "≈" if counts.is_estimate else ""
    oldest = counts.oldest_ready_seconds
    return [
        str(counts.ready),
        str(counts.doing),
        str(counts.stale),
        "–" if counts.done is None else f"{about}{counts.done}",
        "–" if counts.failed is None else str(counts.failed),
        "–" if oldest is None else cells.duration(oldest),
    ]
