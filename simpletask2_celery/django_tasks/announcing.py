"""Django's signals of Tasks, in the worker: sent when ours are, after their fact is committed."""

import logging
from typing import Any

from .. import signals
from . import functions, results
from .api import LOGGER, task_backends, task_finished, task_started
from .backend import CeleryBackend


def connect(model: type) -> None:
    """Send Django's signals for the rows of the model."""
    signals.task_started.connect(_started, sender=model, dispatch_uid=__name__)
    signals.task_finished.connect(_finished, sender=model, dispatch_uid=__name__)


def _started(row: Any, **kwargs: object) -> None:
    _send(task_started, row, logging.INFO)


def _finished(row: Any, **kwargs: object) -> None:
    _send(task_finished, row, logging.INFO if row.success else logging.ERROR)


def _send(signal: Any, row: Any, level: int) -> None:
    # Django's own receiver writes the log, and does nothing else.
    if len(signal.receivers) == 1 and not logging.getLogger(LOGGER).isEnabledFor(level):
        return
    if functions.find(row.task_path) is None:  # there is no Task that a TaskResult could be of
        return
    signal.send(_sender(row.backend), task_result=results.of_row(row))


def _sender(alias: str) -> type:
    """Return the class of the backend; ours, where TASKS has the alias no more."""
    try:
        return type(task_backends[alias])
    except Exception:
        return CeleryBackend
