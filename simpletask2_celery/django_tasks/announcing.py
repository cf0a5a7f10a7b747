"""Django's signals of Tasks, in the worker: sent when ours are, after their fact is committed."""

from typing import Any

from .. import signals
from . import functions, results
from .api import task_backends, task_finished, task_started
from .backend import CeleryBackend


def connect(model: type) -> None:
    """Send Django's signals for the rows of the model."""
    signals.task_started.connect(_started, sender=model, dispatch_uid=__name__)
    signals.task_finished.connect(_finished, sender=model, dispatch_uid=__name__)


def _started(row: Any, **kwargs: object) -> None:
    _send(task_started, row)


def _finished(row: Any, **kwargs: object) -> None:
    _send(task_finished, row)


def _send(signal: Any, row: Any) -> None:
    if functions.find(row.task_path) is None:  # there is no Task that a TaskResult could be of
        return
    signal.send(_sender(row.backend), task_result=results.of_row(row))


def _sender(alias: str) -> type:
    """Return the class of the backend; ours, where TASKS has the alias no more."""
    try:
        return type(task_backends[alias])
    except Exception:
        return CeleryBackend
