"""Is it well? The figures that a probe, a command or a view asks for."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from django.db import connections, router
from django.db.models import Min
from django.utils import timezone

from . import auto_reset, clock, last_reset, project_cache, publisher, state
from .conf import conf
from .missing_reset import MISSING
from .models import SimpleTask


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is well, the figure and its words."""

    name: str
    ok: bool
    value: Any
    text: str


def check(timeout: float = 1.0) -> list[Finding]:
    """Look at databases, broker, workers, rows and resets.

    ``timeout`` is how many seconds workers have to answer. Never raises: what cannot
    be reached is not well. Two queries a model and a ping: cheap enough for a probe
    every five seconds.
    """
    return [*_databases(), *_broker_and_workers(timeout), *_rows(), _last_reset()]


def _databases() -> Iterator[Finding]:
    models = auto_reset.task_models()
    for alias in connections:
        if any(router.allow_migrate_model(alias, model) for model in models):
            yield _timed(f"database {alias}", partial(_select_1, alias))


def _select_1(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")


def _broker_and_workers(timeout: float) -> Iterator[Finding]:
    broker = _timed("broker", publisher.ping)
    yield broker
    names: list[str] | None
    try:
        names = publisher.workers(timeout) if broker.ok else []
    except Exception:  # the broker went away in between
        names = []
    if names is None:
        text = "not known: Celery's remote control is off"
        yield Finding("workers", True, None, text)
        return
    text = ", ".join(names) or "none answers"
    yield Finding("workers", bool(names), names, f"{len(names)} ({text})")


def _rows() -> Iterator[Finding]:
    """Count what can be read; a table that cannot is named, and is not well."""
    oldest: list[datetime] = []
    late = 0
    problems: list[str] = []
    for model in auto_reset.task_models():
        for alias in state.databases_of(model):
            try:
                waiting, over = _figures(model, alias)
            except Exception as error:
                name = f"{model._meta.label_lower} in {alias}"
                problems.append(f"{name} ({type(error).__name__})")
            else:
                oldest += [waiting] if waiting else []
                late += over
    if problems:
        yield Finding("rows", False, None, f"not read: {', '.join(problems)}")
    age = (timezone.now() - min(oldest)).total_seconds() if oldest else None
    yield Finding("oldest READY row", True, age, "none" if age is None else f"{age:.0f} s")
    yield Finding("rows past their lease", True, late, str(late))


def _figures(model: type[SimpleTask], alias: str) -> tuple[datetime | None, int]:
    """Return when the oldest READY row was added, and how many leases are over.

    Two queries: with an OR, databases pass an index by.
    """
    rows = model._base_manager.using(alias)
    oldest = rows.filter(status=state.READY).aggregate(oldest=Min("add_time"))["oldest"]
    late = rows.filter(status=state.DOING, auto_reset_time__lt=clock.now(alias))
    return oldest, late.count()


def _last_reset() -> Finding:
    age = last_reset.age()
    if age is None and not project_cache.is_shared():
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
