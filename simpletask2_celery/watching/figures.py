"""What dashboard, status command, metrics and health show of rows, queues and workers.

Each read of a table has a time limit, and so have all reads together: an answer comes whatever
happens. A figure is None if it took too long, or if what it is about is down.
"""

import datetime
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any, Literal, TypeVar

from django.db import connections
from django.utils import timezone

from ..conf import conf
from ..publishing import broker, producers
from ..publishing.broker import Worker
from ..recovery import auto_reset, hints, overdue
from ..rows import at_once, databases
from ..rows import model as row_model
from ..rows.model import Row
from . import counts, egress, history, kinds, queues
from .counts import Counts
from .history import Bucket, Times
from .kinds import Kind
from .limits import TOO_LONG, TookTooLong, limited
from .queues import Queue

__all__ = ["Bucket", "Counts", "Figures", "Kind", "ModelFigures", "Queue", "Times", "read"]

LIMIT = 0.2  # seconds of the statements of one read
ALL = 2.0  # seconds of all reads of tables
BROKER = 1.5  # seconds of all questions to broker, workers and cache
PING = 0.5  # seconds that workers have to answer
MINUTE, HALF_HOUR = 60, 1800  # seconds of a bar of the charts

T = TypeVar("T")


@dataclass
class ModelFigures:
    """The figures of one model in one database.

    ``hour`` are 60 buckets of a minute, ``day`` 48 of half an hour, oldest first; they
    are of ``newest`` rows only where that is not None. ``waiting`` are the hundred channels
    whose READY rows have waited longest. ``kinds`` tell apart the functions of function tasks.
    ``problem`` says what went wrong.
    """

    model: type[Row]
    using: str
    total: Counts | None = None
    channels: list[Counts] = field(default_factory=list)
    waiting: list[Counts] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    hour: list[Bucket] | None = None
    day: list[Bucket] | None = None
    newest: int | None = None
    times: Times | None = None
    problem: str | None = None

    @property
    def name(self) -> str:
        """The model as "app.model"."""
        return self.model._meta.label_lower

    @property
    def label(self) -> str:
        """The name, and the database where it is not "default"."""
        return self.name if self.using == "default" else f"{self.name} · {self.using}"


@dataclass(frozen=True)
class Figures:
    """All figures. ``workers``, ``queues``, ``served`` and ``last_reset`` are None if not known.

    ``queues`` is {channel: messages}, ``served`` says which workers serve the channels' queues,
    and ``last_reset`` is the seconds since it ran.
    """

    at: datetime.datetime
    models: list[ModelFigures]
    broker: str | None
    workers: list[str] | None
    queues: dict[str, float] | None
    served: list[Queue] | None
    last_reset: float | None
    is_reset_missing: bool
    #: {queue of proxy requests: egress workers that answer}
    egress: dict[str, int] | None = None

    @property
    def unserved(self) -> list[Queue]:
        """The queues that have messages, or rows that wait, and no worker."""
        return queues.unserved(self.served or [], self.queues)


class Depth(IntEnum):
    """How much of a table is read; each includes those before it."""

    TO_DO = 1  # how many rows are not DONE, by channel
    COUNTS = 2  # and how many are DONE
    HISTORY = 3  # what has ended lately


def read(task_models: Iterable[type[Row]] | None = None, history: bool = True) -> Figures:
    """Read all figures, of all task models by default, in four seconds at most.

    Without ``history``, what has ended lately is not looked at. Never raises for what is
    down, slow or silent.
    """
    of_models = databases.models_of(row_model.task_models() if task_models is None else task_models)
    depth = Depth.HISTORY if history else Depth.COUNTS
    look = partial(of_database, limit=LIMIT, depth=depth)
    answers = ask(of_models, look, {}, ALL, LIMIT)
    tables: list[ModelFigures] = []
    for using, models in of_models.items():
        answer = answers[f"database {using}"]
        if isinstance(answer, at_once.Problem):
            answer = [ModelFigures(model, using, problem=answer.text) for model in models]
        tables += answer
    tables.sort(key=lambda table: (table.name, table.using))
    answers = at_once.ask({**outside(PING), "queues": lambda: _queues(tables)}, BROKER)
    problem = answers["broker"]
    values = {
        name: None if isinstance(answer, at_once.Problem) else answer
        for name, answer in answers.items()
    }
    age, is_missing = values["last reset"] or (None, False)
    workers = values["workers"]
    return Figures(
        at=timezone.now(),
        models=tables,
        broker=problem.text if isinstance(problem, at_once.Problem) else None,
        workers=None if workers is None else [one.name for one in workers],
        queues=values["queues"],
        served=_served_if_known(tables, workers),
        last_reset=age,
        is_reset_missing=is_missing,
        egress=values["egress"],
    )


def ask(
    of_models: dict[str, list[type[Row]]],
    look: Callable[[str, list[type[Row]], float], Any],
    others: dict[str, Callable[[], Any]],
    seconds: float,
    more: float,
) -> dict[str, Any]:
    """Ask databases about their models, and others, all at once; return answers by name.

    ``look`` is given alias, models and when it must end: after ``seconds``. Its answer is
    that of "database <alias>". What is not there ``more`` seconds later is a Problem.
    """
    producers.import_transport()
    end = time.monotonic() + seconds
    questions, answers = dict(others), {}
    for using, models in of_models.items():
        name, question = f"database {using}", partial(look, using, models, end)
        connection = connections[using]
        # Only this thread can read a file, or a database in a transaction. Others are read in
        # a thread that can be left behind: no limit stops what a silent server does not answer.
        if connection.vendor != "sqlite" and not connection.in_atomic_block:
            questions[name] = question
            continue
        try:
            answers[name] = question()
        except Exception as error:
            answers[name] = at_once.Problem(type(error).__name__, error)
    return answers | at_once.ask(questions, max(0.0, end - time.monotonic()) + more)


def outside(ping: float) -> dict[str, Callable[[], Any]]:
    """Return what to ask of broker, workers and cache, by name.

    The workers have ``ping`` seconds to answer which queues they serve.
    """
    workers = partial(broker.workers, ping)
    return {
        "broker": _seconds_of_broker,
        "workers": workers,
        "last reset": _last_reset,
        "egress": partial(egress.serving, ping),
    }


def _seconds_of_broker() -> float:
    began = time.monotonic()
    broker.ping()
    return time.monotonic() - began


def _last_reset() -> tuple[float | None, bool]:
    """Return the seconds since the last reset, if they are known, and whether one is missing."""
    age = auto_reset.age()
    is_late = age is None or age > overdue.MISSING * conf.auto_reset_interval
    return age, is_late and hints.is_shared()


def _queues(tables: list[ModelFigures]) -> dict[str, float]:
    channels = {one.channel for table in tables for one in table.channels if one.channel}
    return {name: broker.messages_in_queue(name) for name in sorted({"default", *channels})}


def served(tables: list[ModelFigures], workers: list[Worker] | None) -> list[Queue] | None:
    """Return the queues of the tables' rows; None where it is not known who serves which."""
    rows = (
        (table.model, table.using, one)
        for table in tables
        for one in {one.channel: one for one in (*table.channels, *table.waiting)}.values()
    )
    return queues.look(rows, workers)


def _served_if_known(
    tables: list[ModelFigures], workers: list[Worker] | None
) -> list[Queue] | None:
    try:
        return served(tables, workers)
    except Exception:  # of a setting, or of a route of the project's
        return None


def of_database(
    using: str, models: list[type[Row]], end: float, limit: float, depth: Depth
) -> list[ModelFigures]:
    """Return the figures of each of the models that has a table in the database."""
    tables = (of_table(model, using, end, limit, depth) for model in models)
    return [table for table in tables if table is not None]


def of_table(
    model: type[Row], using: str, end: float, limit: float, depth: Depth
) -> ModelFigures | None:
    """Return the figures of a model in a database; None if that has no table of it."""
    table = ModelFigures(model, using)

    def attempt(read: Callable[..., T], *arguments: Any) -> T | None:
        """Read something; a read that fails keeps none of the next ones from being tried."""
        try:
            with limited(using, min(limit, end - time.monotonic())):
                return read(*arguments)
        except TookTooLong:
            table.problem = table.problem or TOO_LONG
        except Exception as error:
            table.problem = table.problem or type(error).__name__
        return None

    def not_done() -> list[Counts] | Literal[False]:
        return databases.holds(model, using) and counts.not_done(model, using)

    to_do = attempt(not_done)
    if to_do is False:
        return None
    if to_do is not None:
        table.total, table.channels = counts.total(to_do), counts.top(to_do)
        table.waiting = counts.waiting(to_do)
    if depth is Depth.TO_DO:
        return table
    size = attempt(counts.estimate, model, using) or 0
    if table.total is not None:
        table.total = attempt(counts.with_done, model, using, table.total, size) or table.total
    table.kinds = attempt(kinds.read, model, using, size) or []
    ended = attempt(history.rows_to_look_at, model, using, size) if depth is Depth.HISTORY else None
    if ended is not None:
        rows, table.newest = ended
        table.times = attempt(history.times, rows)
        table.hour = attempt(history.buckets, rows, MINUTE, 60)
        table.day = attempt(history.buckets, rows, HALF_HOUR, 48)
    return table
