"""Is it well? The figures that a probe, a command or a view asks for."""

import datetime
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from django.db import connections
from django.db.models import Count, Min, Q
from django.utils import timezone

from .conf import conf
from .publishing import broker, producers
from .recovery import backlog, hints, last_reset
from .recovery.overdue import MISSING
from .rows import at_once, clock, databases, states
from .rows.model import Row, task_models
from .watching.limits import TOO_LONG, TookTooLong, limited, needs_this_thread

MORE = 2.0  # seconds for all that is asked, beside those that workers have
TABLE = 1.0  # seconds that a table may take


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is well, the figure and its words."""

    name: str
    ok: bool
    value: Any
    text: str


class _Table(NamedTuple):
    """What was found in a table: of its READY and of its DOING rows."""

    oldest: datetime.datetime | None  # READY row: when it was added
    overdue: int  # READY rows that no reset has published again in time
    late: int  # rows whose lease is over
    lost: int  # those of them that resets ought to have found


class _Database(NamedTuple):
    """What was found in a database: of each table the figures, or what went wrong."""

    finding: Finding
    tables: dict[str, _Table | str]


def check(timeout: float = 1.0) -> list[Finding]:
    """Look at databases, broker, workers, rows and resets, all at once.

    ``timeout`` is how many seconds workers have to answer. Never raises, and takes two
    seconds more at most: what cannot be reached is not well. Two queries a table and a
    ping: cheap enough for a probe every five seconds.
    """
    producers.import_transport()
    models = databases.models_of(task_models())
    looks: dict[str, Callable[[], Any]] = {
        "broker": partial(_timed, "broker", broker.ping),
        "workers": partial(_workers, timeout),
        "last auto-reset": _last_reset,
    }
    found: dict[str, Any] = {}
    for alias, of_database in models.items():
        name = f"database {alias}"
        look = partial(_database, name, alias, of_database)
        if needs_this_thread(alias):
            found[name] = look()
        else:
            looks[name] = look
    found |= at_once.ask(looks, timeout + MORE)
    for name, answer in found.items():
        if isinstance(answer, at_once.Problem):
            nothing = Finding(name, False, None, answer.text)
            is_database = name.startswith("database ")
            found[name] = _Database(nothing, {}) if is_database else nothing
    answers = [found[f"database {alias}"] for alias in models]
    return [
        *(answer.finding for answer in answers),
        found["broker"],
        found["workers"],
        *_rows(answers),
        found["last auto-reset"],
    ]


def _database(name: str, alias: str, models: list[type[Row]]) -> _Database:
    """Look at a database and its tables; one that cannot be read is named."""
    finding = _timed(name, partial(_select_1, alias))
    tables: dict[str, _Table | str] = {}
    for model in models if finding.ok else ():
        try:
            with limited(alias, TABLE):
                if databases.holds(model, alias):
                    tables[model._meta.label_lower] = _table(model, alias)
        except TookTooLong:
            tables[model._meta.label_lower] = TOO_LONG
        except Exception as error:
            tables[model._meta.label_lower] = type(error).__name__
    return _Database(finding, tables)


def _select_1(alias: str) -> None:
    with limited(alias, TABLE), connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def _table(model: type[Row], alias: str) -> _Table:
    """Count in two queries: with an OR, databases pass an index by."""
    now = clock.now(alias)
    wait = datetime.timedelta(seconds=model.task_wait_timeout)
    patience = max(backlog.LEAST, backlog.PATIENCE * wait)
    unreset = MISSING * datetime.timedelta(seconds=conf.auto_reset_interval)
    rows = model._base_manager.using(alias)
    ready = rows.filter(status=states.READY).aggregate(
        st2_oldest=Min("add_time"),
        st2_overdue=Count("status", filter=Q(auto_reset_time__lt=now - patience - unreset)),
    )
    late = rows.filter(status=states.DOING, auto_reset_time__lt=now).aggregate(
        st2_late=Count("status"),
        st2_lost=Count("status", filter=Q(auto_reset_time__lt=now - unreset)),
    )
    return _Table(*ready.values(), *late.values())


def _workers(timeout: float) -> Finding:
    try:
        names = broker.workers(timeout)
    except Exception:  # the broker's own line says it
        names = []
    if names is None:
        text = "not known: Celery's remote control is off"
        return Finding("workers", True, None, text)
    text = ", ".join(names) or "none answers"
    return Finding("workers", bool(names), names, f"{len(names)} ({text})")


def _rows(answers: list[_Database]) -> Iterator[Finding]:
    """Say what was found in all tables; those that could not be read are named."""
    tables = []
    problems = []
    for finding, of_database in answers:
        problems += [] if finding.ok else [finding.name]
        for name, table in of_database.items():
            if isinstance(table, _Table):
                tables.append(table)
            else:
                where = finding.name.removeprefix("database ")
                problems.append(f"{name} in {where} ({table})")
    if problems:
        yield Finding("rows", False, None, f"not read: {', '.join(problems)}")
    oldest = [table.oldest for table in tables if table.oldest]
    overdue = sum(table.overdue for table in tables)
    age = (timezone.now() - min(oldest)).total_seconds() if oldest else None
    text = "none" if age is None else f"{age:.0f} s"
    if overdue:
        text += f"; {overdue} READY rows are past their time, and no reset has found them"
    yield Finding("oldest READY row", not overdue, age, text)
    late = sum(table.late for table in tables)
    lost = sum(table.lost for table in tables)
    text = f"{late}; no reset has found {lost} of them" if lost else str(late)
    yield Finding("rows past their lease", not lost, late, text)


def _last_reset() -> Finding:
    age = last_reset.age()
    if age is None and not hints.is_shared():
        text = "not known: no cache that processes share"
        return Finding("last auto-reset", True, None, text)
    if age is None:
        return Finding("last auto-reset", False, None, "none is known of")
    missing = age > MISSING * conf.auto_reset_interval
    return Finding("last auto-reset", not missing, age, f"{age:.0f} s ago")


def _timed(name: str, look: Callable[[], None]) -> Finding:
    began = time.monotonic()
    try:
        look()
    except Exception as error:
        return Finding(name, False, None, f"not reached ({type(error).__name__})")
    seconds = time.monotonic() - began
    return Finding(name, True, seconds, f"answers in {seconds * 1000:.0f} ms")
