"""Is it well? The figures that a probe, a command or a view asks for."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connections

from .rows import at_once, databases
from .rows.model import Row, task_models
from .watching import counts, figures
from .watching.figures import Depth, ModelFigures
from .watching.limits import limited

MORE = 2.0  # seconds for all that is asked, beside those that workers have
TABLE = 1.0  # seconds that a table may take


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is well, the figure and its words."""

    name: str
    ok: bool
    value: Any
    text: str


def check(timeout: float = 1.0) -> list[Finding]:
    """Look at databases, broker, workers, rows and resets, all at once.

    ``timeout`` is how many seconds workers have to answer. Never raises, and takes two
    seconds more at most: what cannot be reached is not well. A query of each table and a
    ping: cheap enough for a probe every five seconds.
    """
    of_models = databases.models_of(task_models())
    answers = figures.ask(of_models, _database, figures.outside(timeout), MORE, timeout)
    findings: list[Finding] = []
    tables: list[ModelFigures] = []
    for using in of_models:
        answer = answers[name := f"database {using}"]
        seconds, of_database = (answer, []) if isinstance(answer, at_once.Problem) else answer
        findings.append(_reached(name, seconds))
        tables += of_database
    return [
        *findings,
        _reached("broker", answers["broker"]),
        _workers(answers["workers"]),
        *_rows(tables, [one.name for one in findings if not one.ok]),
        _last_reset(answers["last reset"]),
    ]


def _database(using: str, models: list[type[Row]], end: float) -> tuple[float, list[ModelFigures]]:
    """Return how many seconds a database takes to answer, and what its tables have to do."""
    began = time.monotonic()
    with limited(using, TABLE), connections[using].cursor() as cursor:
        cursor.execute("SELECT 1")
    seconds = time.monotonic() - began
    return seconds, figures.of_database(using, models, end, TABLE, Depth.TO_DO)


def _reached(name: str, seconds: "float | at_once.Problem") -> Finding:
    if not isinstance(seconds, at_once.Problem):
        return Finding(name, True, seconds, f"answers in {seconds * 1000:.0f} ms")
    text = seconds.text
    return Finding(name, False, None, text if text == at_once.SILENT else f"not reached ({text})")


def _workers(names: "list[str] | None | at_once.Problem") -> Finding:
    if isinstance(names, at_once.Problem):
        if names.text == at_once.SILENT:
            return Finding("workers", False, None, names.text)
        names = []  # the broker's own line says what it is
    if names is None:
        return Finding("workers", True, None, "not known: Celery's remote control is off")
    text = ", ".join(names) or "none answers"
    return Finding("workers", bool(names), names, f"{len(names)} ({text})")


def _rows(tables: list[ModelFigures], problems: list[str]) -> Iterator[Finding]:
    """Say what was counted in all tables; those that could not be read are named."""
    unread = [table for table in tables if table.problem]
    problems += [f"{table.name} in {table.using} ({table.problem})" for table in unread]
    if problems:
        yield Finding("rows", False, None, f"not read: {', '.join(problems)}")
    total = counts.total(table.total for table in tables if table.total)
    age = total.oldest_ready_seconds
    text = "none" if age is None else f"{age:.0f} s"
    if total.overdue:
        text += f"; {total.overdue} READY rows are past their time, and no reset has found them"
    yield Finding("oldest READY row", not total.overdue, age, text)
    text = str(total.stale)
    if total.lost:
        text += f"; no reset has found {total.lost} of them"
    yield Finding("rows past their lease", not total.lost, total.stale, text)


def _last_reset(answer: "tuple[float | None, bool] | at_once.Problem") -> Finding:
    name = "last auto-reset"
    if isinstance(answer, at_once.Problem):
        return Finding(name, False, None, answer.text)
    age, is_missing = answer
    text = "none is known of" if is_missing else "not known: no cache that processes share"
    if age is not None:
        text = f"{age:.0f} s ago"
    return Finding(name, not is_missing, age, text)
