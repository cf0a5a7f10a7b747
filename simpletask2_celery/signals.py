"""Django signals: what happens to rows, told in the process where it happens.

A signal is sent after its fact is true in the database: at once, or where somebody's own
transaction is open, after its commit. A receiver that fails is logged, and neither the run
nor the save nor the reset that it was told of knows of it. Rows that nobody listens for
cost a look at an empty list.

Each signal is also a line of the log at DEBUG, with ``task_info``, ``step``, ``code`` and
``duration`` (seconds) in the record where they are known.
"""

import logging
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any, NamedTuple

from celery.exceptions import SoftTimeLimitExceeded
from django.apps import apps
from django.dispatch import Signal

from . import databases, exceptions, interruptions, savepoint, task_info

logger = logging.getLogger(__name__)

#: Why a row was reset.
LEASE_OVER = "lease_over"  #: its run did not come to an end in time
MESSAGE_LOST = "message_lost"  #: it was READY for too long: published again
RUN_LOST = "run_lost"  #: the process that ran it has died
OPERATOR = "operator"  #: somebody asked for it


class TaskSignal(Signal):
    """A signal about a row. Its sender is the row's model, a class."""

    def _log_robust_failure(self, receiver: Any, err: Exception) -> None:
        """Leave that to this module, which knows the row's name."""


#: A row's message was handed to the broker, or to the Redis list of its channel.
#: ``pk``, ``using`` (alias of its database), ``channel``, ``task_info`` ("app.model:pk").
task_published = TaskSignal(use_caching=True)

#: A run has claimed its row. As above, and ``row``.
task_started = TaskSignal(use_caching=True)

#: A step has ended, and what its handler changed is saved. As above, and ``step`` (int),
#: ``seconds`` (float, of the handler), ``request_seconds`` (float, of the proxy request
#: after it, or None), ``success`` (bool), ``error`` (what the handler raised, or None).
step_finished = TaskSignal(use_caching=True)

#: A row is DONE. As for task_started, and ``success`` (True, False, or None where
#: ``done()`` was told nothing), ``error`` (why it failed, an exception or None),
#: ``seconds`` (float, since its claim; None for a row that nobody had claimed).
task_finished = TaskSignal(use_caching=True)

#: A row is READY again. As for task_started, and ``reason``, one of the four above. But
#: for one whose ``reset()`` was called, ``row`` is as it was before.
task_reset = TaskSignal(use_caching=True)


class Ended(NamedTuple):
    """A step whose handler has returned, or raised ``error``; times are in seconds."""

    step: int
    seconds: float
    error: BaseException | None
    request_seconds: float | None = None


# -- for the package: each is called where its fact has become true -------------------


def _harmless(tell: Callable[..., None]) -> Callable[..., None]:
    """Log what fails: the fact is true, whoever hears of it."""

    @wraps(tell)
    def harmless(*args: Any) -> None:
        try:
            tell(*args)
        except SoftTimeLimitExceeded:  # about the run
            raise
        except BaseException as error:  # sys.exit() of a receiver, too
            if interruptions.is_interruption(error):
                raise
            logger.exception("A signal was not sent.")

    return harmless


def published(messages: Iterable[Any]) -> None:
    """Tell that these messages were handed over, each of a row or of a list of rows."""
    if task_published.receivers or logger.isEnabledFor(logging.DEBUG):
        _published(messages)


@_harmless
def _published(messages: Iterable[Any]) -> None:
    for kind, keys, _ in messages:
        model = apps.get_model(kind.app_label, kind.model)
        if not is_wanted(task_published, model):
            continue
        for key in keys if isinstance(keys, list) else [keys]:
            pk = model._meta.pk.to_python(key)
            pk = tuple(pk) if isinstance(pk, list) else pk
            about = {
                "pk": pk,
                "using": kind.using or "default",
                "channel": kind.channel,
                "task_info": task_info.text(model, pk),
            }
            _tell(task_published, model, about, "published")


@_harmless
def started(row: Any) -> None:
    """Tell that a row was claimed."""
    if is_wanted(task_started, type(row)):
        _tell_of(row, task_started, "started", step=row.current_step)


@_harmless
def step_ended(row: Any, ended: "Ended | None") -> None:
    """Tell that a step's end was saved, if a handler ran at all."""
    if ended is None or not is_wanted(step_finished, type(row)):
        return
    success = ended.error is None
    words = "step finished" if success else "step failed"
    facts = {**ended._asdict(), "success": success}
    _tell_of(row, step_finished, words, facts, step=ended.step, duration=ended.seconds)


@_harmless
def finished(row: Any, error: BaseException | None = None) -> None:
    """Tell that a row is DONE, and why it failed."""
    if not is_wanted(task_finished, type(row)):
        return
    seconds = None
    if row.start_time is not None:
        seconds = max((row.done_time - row.start_time).total_seconds(), 0.0)
    facts = {"success": row.success, "error": error, "seconds": seconds}
    logged = {"step": row.current_step, "duration": seconds}
    if error is not None:
        logged["code"] = exceptions.HANDLER_FAILED
    words = "failed" if row.success is False else "done"
    _tell_of(row, task_finished, words, facts, **logged)


@_harmless
def reset(rows: Iterable[Any], reason: str) -> None:
    """Tell that rows, of one model, are READY again."""
    for row in rows:
        if not is_wanted(task_reset, type(row)):
            return
        was_ready = reason == LEASE_OVER and row.status == row.READY
        why = MESSAGE_LOST if was_ready else reason
        facts = {"reason": why}
        _tell_of(row, task_reset, f"reset ({why})", facts, step=row.current_step)


def is_wanted(signal: Signal, model: type) -> bool:
    """Tell whether somebody listens, or reads the log at DEBUG."""
    listens = bool(signal.receivers) and signal.has_listeners(model)
    return listens or logger.isEnabledFor(logging.DEBUG)


def _tell_of(
    row: Any,
    signal: Signal,
    words: str,
    facts: dict[str, Any] | None = None,
    **logged: Any,
) -> None:
    """Tell of a row once its database has committed: now, unless somebody's is open."""
    using = databases.of(row)
    about = {
        "row": row,
        "pk": row.pk,
        "using": using,
        "channel": row.get_channel_name(),
        "task_info": row.get_task_info(),
        **(facts or {}),
    }
    tell = partial(_tell, signal, type(row), about, words, **logged)
    savepoint.after_commit(using, tell)


def _tell(
    signal: Signal, model: type, about: dict[str, Any], words: str, **logged: Any
) -> None:
    name = about["task_info"]
    logger.debug("%s: %s", name, words, extra={"task_info": name, **logged})
    for receiver, answer in _answers(signal, model, about):
        if not isinstance(answer, Exception):
            continue
        row = about.get("row")
        if isinstance(answer, SoftTimeLimitExceeded) and row and row.status == row.DOING:
            raise answer  # which is about the run, and the run goes on
        logger.error(
            "%s: a receiver of a signal failed, %s: %r",
            name,
            getattr(receiver, "__qualname__", receiver),
            answer,
            exc_info=answer,
            extra={"task_info": name, **logged},
        )


def _answers(signal: Signal, model: type, about: dict[str, Any]) -> list[Any]:
    try:
        return signal.send_robust(model, **about)
    except Exception as error:  # async receivers beside a loop that runs
        return [(signal, error)]
