"""Django's signals of Tasks, in the worker: sent beside ours, once their fact is committed."""

import logging
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from . import functions, results
from .api import logger, task_backends, task_finished, task_started
from .backend import CeleryBackend


def started(row: Any) -> None:
    """Send ``task_started`` for a row that was claimed."""
    _send(task_started, row, logging.INFO)


def finished(row: Any) -> None:
    """Send ``task_finished`` for a row that is DONE."""
    _send(task_finished, row, logging.INFO if row.success else logging.ERROR)


def _send(signal: Any, row: Any, level: int) -> None:
    # Django's own receiver writes the log, and does nothing else.
    if len(signal.receivers) == 1 and not logger.isEnabledFor(level):
        return
    if functions.find(row.task_path) is None:  # there is no Task that a TaskResult could be of
        return
    answers = signal.send_robust(_sender(row.backend), task_result=results.of_row(row))
    for _, answer in answers:
        if isinstance(answer, SoftTimeLimitExceeded) and row.status == row.DOING:
            raise answer  # which is about the run, and the run goes on


def _sender(alias: str) -> type:
    """Return the class of the backend; ours, where TASKS has the alias no more."""
    try:
        return type(task_backends[alias])
    except Exception:
        return CeleryBackend
