"""Send the signals: each function is called where its fact has become true.

A receiver that fails is logged. A time limit of Celery and what ends the process on purpose
are raised, because they are about the run.
"""

import datetime
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from celery.exceptions import SoftTimeLimitExceeded
from django.apps import apps
from django.dispatch import Signal

from .. import exceptions, signals
from . import databases, due, task_info, transactions
from .interruptions import is_about_the_run

logger = logging.getLogger(signals.__name__)


class Ended(NamedTuple):
    """A step whose handler has returned ``data``, or raised ``error``; times in seconds."""

    step: int
    seconds: float
    data: Any = None
    error: BaseException | None = None
    request_seconds: float | None = None
    request_error: str | None = None


def is_wanted(signal: Signal, model: type) -> bool:
    """Tell whether somebody listens, or reads the log at DEBUG."""
    listens = bool(signal.receivers) and signal.has_listeners(model)
    return listens or logger.isEnabledFor(logging.DEBUG)


@contextmanager
def _harmless() -> Iterator[None]:
    """Log what fails: the fact is true, whoever hears of it."""
    try:
        yield
    except BaseException as error:  # sys.exit() of a receiver, too
        if is_about_the_run(error):
            raise
        logger.exception("A signal was not sent.")


def published(messages: Iterable[Any]) -> None:
    """Announce that these messages were handed over, each of a row or of a list of rows."""
    if signals.task_published.receivers or logger.isEnabledFor(logging.DEBUG):
        _published(messages)


@_harmless()
def _published(messages: Iterable[Any]) -> None:
    for kind, keys, _ in messages:
        model = apps.get_model(kind.app_label, kind.model)
        if not is_wanted(signals.task_published, model):
            continue
        for key in keys if isinstance(keys, list) else [keys]:
            pk = task_info.pk_of_json(model, key)
            about = {"pk": pk, "using": kind.using or "default", "channel": kind.channel}
            about |= {"task_info": task_info.text(model, pk), "label": kind.label}
            _send(signals.task_published, model, about, "published", {})


@_harmless()
def started(row: Any) -> None:
    """Announce that a row was claimed."""
    if row._listener is not None:
        transactions.after_commit(databases.of(row), partial(row._listener.started, row))
    if is_wanted(signals.task_started, type(row)):
        _announce(row, signals.task_started, "started", {}, {"step": row.current_step})


@_harmless()
def step_ended(row: Any, ended: Ended | None) -> None:
    """Announce that a step's end was saved, if a handler ran at all."""
    if ended is None or not is_wanted(signals.step_finished, type(row)):
        return
    success = ended.error is None
    facts = {**ended._asdict(), "success": success}
    del facts["data"]
    text = "step finished" if success else "step failed"
    logged = {"step": ended.step, "duration": ended.seconds}
    _announce(row, signals.step_finished, text, facts, logged)


@_harmless()
def finished(row: Any, error: BaseException | None = None) -> None:
    """Announce that a row is DONE, and why it failed."""
    if row._listener is not None:
        transactions.after_commit(databases.of(row), partial(row._listener.finished, row))
    if not is_wanted(signals.task_finished, type(row)):
        return
    seconds = None
    if row.start_time is not None:
        seconds = max((row.done_time - row.start_time).total_seconds(), 0.0)
    facts = {"success": row.success, "error": error, "seconds": seconds}
    logged = {"step": row.current_step, "duration": seconds}
    if error is not None:
        logged["code"] = exceptions.HANDLER_FAILED
    text = "failed" if row.success is False else "done"
    _announce(row, signals.task_finished, text, facts, logged)


@_harmless()
def retried(row: Any, error: BaseException, moment: datetime.datetime) -> None:
    """Announce that a durable row is to be tried again at ``moment``, and why."""
    if is_wanted(signals.task_retried, type(row)):
        facts = {"error": error, "attempt": row.attempts, "run_after": moment}
        _announce(row, signals.task_retried, "to be retried", facts, {})


@_harmless()
def cancelled(row: Any) -> None:
    """Announce that a durable row was cancelled: it is DONE."""
    if is_wanted(signals.task_cancelled, type(row)):
        _announce(row, signals.task_cancelled, "cancelled", {}, {})


@_harmless()
def reset(rows: Iterable[Any], reason: str) -> None:
    """Announce that rows, of one model, are READY again.

    Not of rows that have kept their time by themselves: they are published, and nothing was lost.
    """
    for row in rows:
        if not is_wanted(signals.task_reset, type(row)):
            return
        was_ready = reason == signals.LEASE_OVER and row.status == row.READY
        if was_ready and due.waits_unpublished(row):
            continue
        why = signals.MESSAGE_LOST if was_ready else reason
        logged = {"step": row.current_step}
        _announce(row, signals.task_reset, f"reset ({why})", {"reason": why}, logged)


def _announce(
    row: Any, signal: Signal, text: str, facts: dict[str, Any], logged: dict[str, Any]
) -> None:
    """Send a signal after the row's transaction: now, where none is open."""
    using = databases.of(row)
    about = {"row": row, "pk": row.pk, "using": using, "channel": row.get_channel_name()}
    label = row.get_celery_name() or row._meta.label_lower
    about |= {"task_info": row.get_task_info(), "label": label, **facts}
    transactions.after_commit(using, partial(_send, signal, type(row), about, text, logged))


def _send(
    signal: Signal, model: type, about: dict[str, Any], text: str, logged: dict[str, Any]
) -> None:
    name = about["task_info"]
    extra = {"task_info": name, **logged}
    logger.debug("%s: %s", name, text, extra=extra)
    answers: list[Any]
    try:
        answers = signal.send_robust(model, **about)
    except Exception as error:  # async receivers beside a loop that runs
        answers = [(signal, error)]
    for receiver, answer in answers:
        if not isinstance(answer, Exception):
            continue
        row = about.get("row")
        if isinstance(answer, SoftTimeLimitExceeded) and row and row.status == row.DOING:
            raise answer  # which is about the run, and the run goes on
        receiver_name = getattr(receiver, "__qualname__", receiver)
        message = "%s: a receiver of a signal failed, %s: %r"
        logger.error(message, name, receiver_name, answer, exc_info=answer, extra=extra)
