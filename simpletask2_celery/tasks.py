"""The two Celery tasks: run one row, and reset the rows whose lease is over."""

import logging
from functools import partial
from typing import Any

from celery import Task, shared_task
from django.db import connections

from . import (
    auto_reset,
    claims,
    exceptions,
    executor,
    only_json,
    publisher,
    responses,
    schedule,
    task_info,
)
from .conf import conf
from .exceptions import DjangoSimpleTask2Error
from .models import SimpleTask

logger = logging.getLogger(__name__)

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
    name=publisher.DO_TASK,
    acks_late=True,
    reject_on_worker_lost=False,
    ignore_result=True,
    serializer="json",
    Strategy=only_json.NAME,
)
def do_task(
    self: "Task[Any, Any]",
    app_label: Any = None,
    model: Any = None,
    id: Any = None,  # noqa: A002  the name is part of the message
    using: Any = None,
    lost_runs: Any = 0,
    **later: Any,
) -> dict[str, Any]:
    """Run the row named by ``app_label``, ``model``, ``id`` and ``using``.

    ``lost_runs`` is how many runs of the row in a row took their process down. Returns
    the envelope of the compatibility facts, section 8. Where there is nothing
    to do, or the message names no row, it says so; a failed run raises
    DjangoSimpleTask2Error, so that Celery and error trackers see it. ``later`` is what
    messages of later versions may carry.
    """
    _check_connections(self)
    name = task_info.short((app_label, model, id))
    try:
        task_model, database, pk = task_info.named_row(
            SimpleTask, app_label, model, id, using
        )
        name = task_info.text(task_model, pk)
        result = executor.run(task_model, database, pk, held=_held(self, lost_runs))
    except DjangoSimpleTask2Error as error:
        return _answer(name, error)
    logger.debug("%s: done", name)
    if not self.request.ignore_result:
        result = responses.storable(result)
    return responses.success(result)


@shared_task(
    name=schedule.DO_AUTO_RESET,
    # On the task as well: django-celery-beat's scheduler drops an entry's options.
    expires=conf.auto_reset_interval * 0.9,
    serializer="json",
    Strategy=only_json.NAME,
)
def do_auto_reset() -> dict[str, int]:
    """Reset and publish the rows whose lease is over; return {"app.model": number}."""
    return auto_reset.run()


def _held(task: "Task[Any, Any]", lost_runs: Any) -> executor.Held:
    count = lost_runs if isinstance(lost_runs, int) else 0
    return partial(claims.held, task_id=str(task.request.id), lost_runs=count)


def _answer(name: str, error: DjangoSimpleTask2Error) -> dict[str, Any]:
    if error.code in exceptions.NOTHING_TO_DO:
        logger.info("%s: nothing to do: %s", name, error)
    elif error.code in _BAD_MESSAGE:
        logger.error("%s: message refused: %s", name, error)
    else:
        raise error
    return responses.failure(error)


def _check_connections(task: "Task[Any, Any]") -> None:
    """Close the database connections that have died since the last task.

    With CELERY_DB_REUSE_MAX nobody else does. Django's own CONN_MAX_AGE of 0 means
    "until the end of the request": there Celery's setting decides.
    """
    if task.request.is_eager:
        return
    for connection in connections.all(initialized_only=True):
        if connection.errors_occurred or connection.settings_dict["CONN_MAX_AGE"] != 0:
            connection.close_if_unusable_or_obsolete()
