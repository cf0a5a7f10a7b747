"""The two Celery tasks: run one row, and reset the rows whose lease is over."""

import logging
from contextvars import copy_context
from functools import partial
from typing import Any

from celery import Task, shared_task
from celery.app.task import Context
from celery.exceptions import SoftTimeLimitExceeded

from . import exceptions
from .conf import conf
from .exceptions import DjangoSimpleTask2Error
from .rows.model import Row
from .publishing import publisher
from .publishing.messages import DO_TASK
from .publishing.to_celery import BATCH
from .recovery import auto_reset, schedule
from .rows import lookup, sessions, task_info
from .running import envelope, only_json

logger = logging.getLogger(__name__)

UNLOCKED = 1.0  # seconds after which a row that a transaction had locked is tried again

#: What is wrong with a message: answered and acknowledged, for no row is meant.
_BAD_MESSAGE = frozenset(
    {
        exceptions.BAD_TASK_INFO,
        exceptions.NO_SUCH_MODEL,
        exceptions.TASK_INFO_MISSING,
    }
)


# Late acknowledgement, but no redelivery after a worker's death: recovery rests on the
# lease, and a message that takes its worker down must not come back at once.
@shared_task(
    bind=True,
    name=DO_TASK,
    acks_late=True,
    reject_on_worker_lost=False,
    ignore_result=True,
    autoretry_for=(),  # whatever the project's base class or annotations say
    serializer="json",
    Strategy=only_json.NAME,
)
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

    Or the rows of a list of ``ids``, one after the other, each on its own account.
    Returns the envelope of the compatibility facts, section 8. Where a worker ignores
    results, as it does unless a message says otherwise, it is a word for Celery's log:
    what a handler returned stays out of that. Where there is nothing to do, or the
    message names no row, it says so; a failed run raises DjangoSimpleTask2Error, so that
    Celery and error trackers see it. ``later`` is what messages of later versions may
    carry.
    """
    request = self.request
    if isinstance(ids, list):
        if len(ids) > BATCH:  # no publisher of ours sends more
            given = task_info.short(f"{app_label}.{model}: {len(ids)} ids")
            refused = exceptions.error(exceptions.BAD_TASK_INFO, task_info=given)
            return _answer(given, refused)
        return _run_each(request, app_label, model, ids, using)
    answer = _run(request, app_label, model, id, using)
    if request.ignore_result and not request.is_eager:
        return envelope.in_words(answer)
    return answer


def _run(request: Context, app_label: Any, model: Any, key: Any, using: Any) -> dict[str, Any]:
    from .recovery import board
    from .running import executor

    if not request.is_eager:
        sessions.look()
    name = ""
    noted = partial(board.noted, task_id=str(request.id))
    try:
        task_model, database, pk = lookup.named_row(app_label, model, key, using)
        name = task_info.text(task_model, pk)
        # In a context of its own: what a handler activates, another row must not see.
        result = copy_context().run(executor.run, task_model, database, pk, noted=noted)
    except DjangoSimpleTask2Error as error:
        if isinstance(error, exceptions.RowLocked) and not request.is_eager:
            _publish_later(task_model, database, pk)
        return _answer(name or task_info.short((app_label, model, key)), error)
    finally:
        if not request.is_eager:
            sessions.give_back()
            sessions.close_those_of_ended_threads()
    if not request.ignore_result:
        result = envelope.storable(result)
    return envelope.success(result)


def _publish_later(model: type[Row], using: str, pk: Any) -> None:
    """Publish once more a row that a transaction has locked: this message is spent."""
    rows = model._base_manager.using(using).filter(pk=pk, status=Row.READY)
    if conf.publish_to != "redis":  # whose lists have no time: there the lease decides
        publisher.publish_on_commit(rows, using=using, countdown=UNLOCKED)


def _run_each(
    request: Context, app_label: Any, model: Any, keys: list[Any], using: Any
) -> dict[str, Any]:
    done = 0
    failures: list[Exception] = []
    for key in keys:
        try:
            done += _run(request, app_label, model, key, using)["success"]
        except SoftTimeLimitExceeded:  # of the message
            raise
        except Exception as error:
            about: dict[str, Any] = {"task_info": task_info.short(f"{app_label}.{model}:{key}")}
            if isinstance(error, DjangoSimpleTask2Error):
                about["code"] = error.code
            logger.error("%s", error, extra=about)  # of a message Celery shows one
            failures.append(error)
    if failures:
        raise failures[0]
    return envelope.success({"rows": len(keys), "done": done})


@shared_task(
    name=schedule.DO_AUTO_RESET,
    # On the task as well: django-celery-beat's scheduler drops an entry's options.
    expires=conf.auto_reset_interval * 0.9,
    autoretry_for=(),  # the next one comes soon
    serializer="json",
    Strategy=only_json.NAME,
)
def do_auto_reset() -> dict[str, int]:
    """Reset and publish the rows whose lease is over; return {"app.model": number}.

    Raises AutoResetFailed, after all others had their turn, where a table failed.
    """
    sessions.look()
    return auto_reset.run()


def _answer(name: str, error: DjangoSimpleTask2Error) -> dict[str, Any]:
    about = {"task_info": name, "code": error.code}
    if error.code in exceptions.NOTHING_TO_DO:
        logger.info("%s: nothing to do: %s", name, error, extra=about)
    elif error.code in _BAD_MESSAGE:
        logger.error("%s: message refused: %s", name, error, extra=about)
    else:
        raise error
    return envelope.failure(error)
