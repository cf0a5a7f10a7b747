"""Is it well? The figures that a probe, a command or a view asks for."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import connections

from .publishing.broker import Worker
from .rows import at_once, databases
from .rows.model import Row, task_models
from .watching import counts, egress, figures, queues
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


def check(timeout: float = 1.0, max_wait: float | None = None) -> list[Finding]:
    """Look at databases, broker, workers, queues, rows and resets, all at once.

    ``timeout`` is how many seconds workers have to answer, ``max_wait`` how many a READY row may
    wait; None for any. Never raises, and takes three seconds more at most: what cannot be reached
    is not well. A query of each table and a question to the workers: cheap enough for a probe
    every five seconds.
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
        _queues(tables, answers["workers"]),
        *_egress(answers["egress"]),
        *_rows(tables, [one.name for one in findings if not one.ok], max_wait),
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


def _workers(answer: "list[Worker] | None | at_once.Problem") -> Finding:
    if isinstance(answer, at_once.Problem):
        if answer.text == at_once.SILENT:
            return Finding("workers", False, None, answer.text)
        answer = []  # the broker's own line says what it is
    if answer is None:
        text = "not known: Celery's remote control is off, or the broker has none"
        return Finding("workers", True, None, text)
    names = [one.name for one in answer]
    text = ", ".join(names) or "none answers"
    return Finding("workers", bool(names), names, f"{len(names)} ({text})")


def _queues(tables: list[ModelFigures], answer: "list[Worker] | None | at_once.Problem") -> Finding:
    try:
        served = None if isinstance(answer, at_once.Problem) else figures.served(tables, answer)
        is_late = queues.is_late(served or [])
    except Exception as error:  # of a setting, or of a route of the project's
        return Finding("queues", False, None, f"not read ({type(error).__name__})")
    if served is None:
        return Finding("queues", True, None, "not known which of them a worker serves")
    unserved = queues.unserved(served)
    text = "no row waits in a queue without a worker"
    if unserved:
        total = sum(one.waiting for one in unserved)
        age = max(one.oldest_seconds or 0.0 for one in unserved)
        text = (
            f"no worker serves {queues.names(unserved)}; READY rows: {total}, oldest: {age:.0f} s"
        )
    value = [one.name for one in unserved]
    return Finding("queues", not is_late, value, text)


def _egress(found: "dict[str, int] | None | at_once.Problem") -> Iterator[Finding]:
    """Say whether egress workers serve the queues of proxy requests, where there are such."""
    if isinstance(found, at_once.Problem):
        yield Finding("egress", False, None, found.text)
    elif found is None:
        if egress.queues():
            yield Finding("egress", True, None, "not known whether a worker serves its queue")
    elif found:
        unserved = egress.unserved(found)
        text = f"no egress worker serves {', '.join(unserved)}"
        if not unserved:
            text = ", ".join(f"{queue}: {workers}" for queue, workers in found.items())
        yield Finding("egress", not egress.is_late(found), unserved, text)


def _rows(
    tables: list[ModelFigures], problems: list[str], max_wait: float | None
) -> Iterator[Finding]:
    """Say what was counted in all tables; those that could not be read are named."""
    unread = [table for table in tables if table.problem]
    problems += [f"{table.name} in {table.using} ({table.problem})" for table in unread]
    if problems:
        yield Finding("rows", False, None, f"not read: {', '.join(problems)}")
    total = counts.total(table.total for table in tables if table.total)
    age = total.oldest_ready_seconds
    text = "none" if age is None else f"{age:.0f} s"
    is_late = max_wait is not None and (total.oldest_waiting_seconds or 0.0) > max_wait
    if is_late:
        text += f"; one that may run has waited for more than {max_wait:g} s"
    if total.overdue:
        text += f"; past their time, and found by no reset: {total.overdue}"
    yield Finding("oldest READY row", not (total.overdue or is_late), age, text)
    text = str(total.stale)
    if total.lost:
        text += f"; found by no reset: {total.lost}"
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
