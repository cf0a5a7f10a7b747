"""The Celery tasks: run a row or go on with it, reset and prune rows, create one by name."""

import datetime
import logging
from contextvars import copy_context
from functools import partial
from typing import Any

from celery import Task, shared_task
from celery.app.task import Context
from celery.exceptions import Retry, SoftTimeLimitExceeded
from django.db import InterfaceError, OperationalError
from django.utils import timezone

from . import exceptions
from .conf import conf
from .exceptions import DjangoSimpleTask2Error
from .publishing import publisher
from .publishing.messages import DO_TASK
from .publishing.to_celery import BATCH
from .recovery import auto_reset, pruning, requests_out, schedule
from .rows import clock, creating, lookup, retrying, sessions, task_info
from .rows.model import Row
from .running import answers_back, envelope, only_json
from .running.proxy.sending import GO_ON

logger = logging.getLogger(__name__)

EARLY = 60.0  # seconds by which clocks may disagree: an earlier message is no row's own
UNLOCKED = 1.0  # seconds after which a row that a transaction had locked is tried again

#: Codes of a message that names no row: it is answered and acknowledged.
_BAD_MESSAGE = {exceptions.BAD_TASK_INFO, exceptions.NO_SUCH_MODEL, exceptions.TASK_INFO_MISSING}


# Acknowledged late, but not delivered again after a worker's death: the lease is enough to
# recover a row, and a message that takes its worker down must not come back at once.
#: Options of ``do_task``, whatever the project's base class and settings say.
OF_ROWS: dict[str, Any] = {
    "acks_late": True,
    "reject_on_worker_lost": False,
    "retry_on_worker_lost": False,
    "ignore_result": True,
    "autoretry_for": (),
    "serializer": "json",
    "Strategy": only_json.NAME,
}


@shared_task(bind=True, name=DO_TASK, **OF_ROWS)
def do_task(
    self: "Task[Any, Any]",
    app_label: Any = None,
    model: Any = None,
    id: Any = None,  # noqa: A002  the name is part of the message
    using: Any = None,
    ids: Any = None,
    **later: Any,
) -> dict[str, Any] | str:
    """Run the row named by ``app_label``, ``model``, ``id`` and ``using``.

    With a list of ``ids``, run these rows one after the other; one that fails does not stop
    the others. Returns the envelope (section 8 of the compatibility page), which also says
    where there is nothing to do, or the message names no row. Where a worker ignores results,
    as it does unless a message says otherwise, returns a line for Celery's log instead,
    without what the handler returned. A failed run raises DjangoSimpleTask2Error, so that
    Celery and error trackers see it. ``later`` is what messages of later versions may carry.
    """
    request = self.request
    if isinstance(ids, list):
        if len(ids) > BATCH:  # no publisher of ours sends more
            name = task_info.short(f"{app_label}.{model}: {len(ids)} ids")
            return _answer(name, exceptions.error(exceptions.BAD_TASK_INFO, task_info=name))
        return _run_each(request, app_label, model, ids, using)
    return _told(request, _run(request, app_label, model, id, using))


@shared_task(bind=True, name=GO_ON, **OF_ROWS)
def go_on(
    self: "Task[Any, Any]",
    app_label: Any = None,
    model: Any = None,
    id: Any = None,  # noqa: A002  as of do_task
    using: Any = None,
    step: Any = None,
    token: Any = None,
    answer: Any = None,
    seconds: Any = None,
    request_seconds: Any = None,
    since: Any = None,
    **later: Any,
) -> dict[str, Any] | str:
    """Go on with the row of that name, after the proxy request of its step ``step``.

    An egress worker sends this with the ``answer``. ``token`` is the claim of the run that has
    handed the request over, ``since`` when it did (ISO 8601); the seconds are those of the handler
    and of the request. Does nothing where that claim is lost, or the answer comes twice. Returns
    and raises as ``do_task``.
    """
    back: dict[str, Any] = {"step": step, "token": token, "answer": answer, "seconds": seconds}
    back |= {"request_seconds": request_seconds, "since": since}
    return _told(self.request, _run(self.request, app_label, model, id, using, back))


def _told(request: Context, answer: dict[str, Any]) -> dict[str, Any] | str:
    """Return what Celery gets of a row's answer: a line for its log, where nobody stores it."""
    if request.ignore_result and not request.is_eager:
        return envelope.in_words(answer)
    return answer


def _run(
    request: Context,
    app_label: Any,
    model: Any,
    key: Any,
    using: Any,
    back: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run a row, or go on with it after the request whose answer is in ``back``."""
    if not request.is_eager:
        sessions.look()
    name = ""
    try:
        task_model, database, pk = lookup.named_row(app_label, model, key, using)
        name = task_info.text(task_model, pk)
        # In a context of its own: another row must not see what this handler activates.
        result = copy_context().run(_run_here, request, task_model, database, pk, back)
    except DjangoSimpleTask2Error as error:
        if _comes_too_early(error) and not request.is_eager:
            rows = task_model._base_manager.using(database).filter(pk=pk, status=Row.READY)
            is_locked = isinstance(error, exceptions.RowLocked)
            later: dict[str, Any] = {"countdown": UNLOCKED} if is_locked else {}  # or its own time
            publisher.publish_on_commit(rows, using=database, **later)
        return _answer(name or task_info.short((app_label, model, key)), error)
    finally:
        if not request.is_eager:
            sessions.give_back()
            sessions.close_those_of_ended_threads()
    if not request.ignore_result:
        result = envelope.storable(result)
    return envelope.success(result)


def _run_here(
    request: Context, model: type[Row], using: str, pk: Any, back: dict[str, Any] | None
) -> dict[str, Any]:
    from .recovery import board
    from .running import executor, requesting

    noted = partial(board.noted, task_id=str(request.id))
    is_of_a_worker = not (request.is_eager or request.called_directly)
    requests = requesting.ByEgress(requests_out.note) if is_of_a_worker else requesting.InPlace()
    if back is not None:
        answer = answers_back.read(model, pk, back)
        noted = _noting_return(noted, back)
        return executor.go_on(model, using, pk, answer, noted=noted, requests=requests)
    if request.is_eager:
        return executor.run_until_done(model, using, pk, noted=noted)
    return executor.run(model, using, pk, noted=noted, requests=requests)


def _noting_return(noted: Any, back: dict[str, Any]) -> Any:
    """Note, for the timeline, when a row's answer has come back to it."""

    def noted_twice(row: Row) -> Any:
        since = answers_back.moment(back["since"])
        if since is not None:
            now = clock.now(str(row._state.db))
            requests_out.note_return(row, back["step"], since, now)
        return noted(row)

    return noted_twice


def _comes_too_early(error: DjangoSimpleTask2Error) -> bool:
    """Tell whether a row's message is to come once more, because this one does nothing.

    A transaction has locked the row, or the clocks of worker and database disagree. Entries of
    the Redis lists cannot wait, so there the lease decides.
    """
    if conf.publish_to == "redis":
        return False
    if isinstance(error, exceptions.NotDue):
        return error.seconds <= EARLY
    return isinstance(error, exceptions.RowLocked)


def _run_each(
    request: Context, app_label: Any, model: Any, keys: list[Any], using: Any
) -> dict[str, Any]:
    done = 0
    failures: list[Exception] = []
    for key in keys:
        name = task_info.short(f"{app_label}.{model}:{key}")
        try:
            done += _run(request, app_label, model, key, using)["success"]
        except SoftTimeLimitExceeded:  # of the message
            raise
        except Retry as retry:  # the row has a message of its own again
            logger.info("%s: %s", name, retry, extra={"task_info": name})
        except Exception as error:
            about: dict[str, Any] = {"task_info": name}
            if isinstance(error, DjangoSimpleTask2Error):
                about["code"] = error.code
            logger.error("%s", error, extra=about)  # Celery shows one error of a message
            failures.append(error)
    if failures:
        raise failures[0]
    return envelope.success({"rows": len(keys), "done": done})


class _Expiring(Task):  # type: ignore[misc]  # Celery has no types
    """A task that expires before the next one of its kind is due.

    On the task as well: django-celery-beat's scheduler drops an entry's options. Read when it is
    sent: at import, a wrong interval would end ``django.setup()`` before the check names it.
    """

    @property
    def expires(self) -> float:
        """Seconds."""
        return conf.auto_reset_interval * 0.9


#: Options of ``do_auto_reset``.
OF_RESETS: dict[str, Any] = {
    "base": _Expiring,
    "ignore_result": True,
    "autoretry_for": (),  # the next one comes soon
    "serializer": "json",
    "Strategy": only_json.NAME,
}


@shared_task(name=schedule.DO_AUTO_RESET, **OF_RESETS)
def do_auto_reset() -> dict[str, int]:
    """Reset and publish the rows whose lease is over; return {"app.model": number}.

    Raises AutoResetFailed where a table failed, after it has reset the others.
    """
    sessions.look()
    return auto_reset.run()


#: Options of ``do_prune``.
OF_PRUNES: dict[str, Any] = {**OF_RESETS, "base": Task, "expires": pruning.PATIENCE}


@shared_task(name=schedule.DO_PRUNE, **OF_PRUNES)
def do_prune() -> dict[str, int]:
    """Delete the DONE rows older than their model's ``keep_done``; return {"app.model": number}.

    Raises PruneFailed where a table failed, after the others have had their turn.
    """
    sessions.look()
    return pruning.run()


CREATE = "simpletask2_celery.create"
TICK = "simpletask2_tick"  # the header that says when a message was sent


class _Ticking(Task):  # type: ignore[misc]  # Celery has no types
    """A task whose message says when it was sent: two beats may send it, and late workers run it.

    A header of the sender's own is left alone, as that of a message that is retried.
    """

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Send the message with the time."""
        now = clock.aware(timezone.now()).isoformat()
        headers = {TICK: now, **(options.pop("headers", None) or {})}
        return super().apply_async(*args, headers=headers, **options)


# Delivered again after a worker's death: beat sends a tick once, and no auto-reset finds a row that
# was never made.
#: Options of ``create``.
OF_CREATES: dict[str, Any] = {
    "base": _Ticking,
    "acks_late": True,
    "reject_on_worker_lost": True,
    "autoretry_for": (),
    "max_retries": 10,  # 1, 2, 4 … seconds apart: 17 minutes in all
    "serializer": "json",
    "Strategy": only_json.NAME,
}


@shared_task(bind=True, name=CREATE, **OF_CREATES)
def create(
    self: "Task[Any, Any]",
    model: str,
    fields: dict[str, Any] | None = None,
    using: str | None = None,
) -> str | None:
    """Create a row of ``model``, "app.model", with ``fields``, which publishes it.

    For beat's time tables. In texts of ``fields``, ``{tick:%Y-%m-%d}`` becomes the time when the
    message was sent, in this format and Django's time zone. Returns "app.model:pk"; None where
    a row has the unique key already, and nothing was made.

    Raises TypeError or ValueError for a model, a field, a value or an alias that cannot be.
    A database that is down is tried again, for some 17 minutes.
    """
    sessions.look()
    row_model = creating.model_of(model)
    alias, values = creating.alias_of(row_model, using), {} if fields is None else fields
    try:
        row = creating.create(row_model, alias, values, _tick(self.request))
    except (InterfaceError, OperationalError) as error:
        if retrying.fault_of(alias, error) is retrying.Fault.REAL:
            raise
        raise self.retry(exc=error, countdown=2**self.request.retries) from error
    if row is None:
        text = "%s: nothing was made: a row with the same unique key is there."
        logger.info(text, row_model._meta.label_lower)
        return None
    return row.get_task_info()


def _tick(request: Context) -> datetime.datetime:
    """Return when the message was sent; of one that does not say it, the time now."""
    sent = (request.headers or {}).get(TICK)
    if sent is None:
        return clock.aware(timezone.now())
    try:
        return clock.aware(datetime.datetime.fromisoformat(sent))
    except (TypeError, ValueError):
        example = "2026-01-31T06:00:00+00:00"
        text = f"The header {TICK} must be a time as {example}, not {task_info.short(sent)}."
        raise ValueError(text) from None


def _answer(name: str, error: DjangoSimpleTask2Error) -> dict[str, Any]:
    about = {"task_info": name, "code": error.code}
    is_late = isinstance(error, exceptions.AnswerLate)
    if is_late or error.code in exceptions.NOTHING_TO_DO:
        logger.info("%s: nothing to do: %s", name, error, extra=about)
    elif isinstance(error, exceptions.RowEnded):
        text = "%s: its run ends: the row was stopped, marked done, given up or deleted."
        logger.info(text, name, extra=about)
    elif error.code in _BAD_MESSAGE:
        logger.error("%s: message refused: %s", name, error, extra=about)
    elif error.code == exceptions.HANDLER_FAILED:
        raise error.with_traceback(None)  # its cause has the frames that say something
    else:
        raise error
    return envelope.failure(error)
