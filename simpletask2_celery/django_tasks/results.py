"""What a ``TaskResult`` of Django's says of a row."""

import datetime
from typing import Any

from ..rows import clock, states
from . import functions
from .api import TaskError, TaskResult, TaskResultStatus

_STATUSES = {states.READY: TaskResultStatus.READY, states.DOING: TaskResultStatus.RUNNING}


def of_row(row: Any, task: Any = None) -> Any:
    """Return the TaskResult of a row, with its Task if the caller knows it.

    Raises ImportError or SuspiciousOperation where the code of the task is gone.
    """
    result: Any = TaskResult(
        task=task or functions.as_enqueued(row),
        id=str(row.pk),
        status=status(row),
        enqueued_at=row.add_time,
        started_at=_first_start(row),
        last_attempted_at=row.start_time or _start(row.errors, -1),
        finished_at=row.done_time,
        args=row.args,
        kwargs=row.kwargs,
        backend=row.backend,
        errors=[_error(one) for one in row.errors or ()],
        worker_ids=worker_ids(row),
    )
    object.__setattr__(result, "_return_value", row.return_value)  # as Django's own backends do
    return result


def status(row: Any) -> Any:
    """Return the status of a row as Django has it."""
    if row.status in _STATUSES:
        return _STATUSES[row.status]
    return TaskResultStatus.SUCCESSFUL if row.success else TaskResultStatus.FAILED


def worker_ids(row: Any) -> list[str]:
    """Return the worker of each attempt, "" where it is not known: of a run that was lost."""
    known = {one["attempt"]: one["worker"] for one in row.errors or ()}
    workers = [known.get(attempt) or "" for attempt in range(1, row.attempts)]
    return [*workers, row.worker or ""] if row.attempts else []


def _first_start(row: Any) -> datetime.datetime | None:
    """Return the start of the first attempt that is known."""
    return _start(row.errors, 0) or row.start_time


def _start(errors: Any, number: int) -> datetime.datetime | None:
    text = errors[number].get("started_at") if errors else None
    return clock.stored(datetime.datetime.fromisoformat(text)) if text else None


def _error(entry: Any) -> Any:
    return TaskError(
        exception_class_path=entry["exception_class_path"], traceback=entry["traceback"]
    )
