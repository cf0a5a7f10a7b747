"""The tasks' strategy in a worker: a message that is not JSON is refused undecoded.

An app may accept pickle for tasks of its own, and to decode a pickle is to run what it says.
Celery asks for a task's strategy before it decodes, so we refuse there. But a message of
Celery's protocol 1 names its task inside the body, which Celery has decoded by then: only
``accept_content = ["json"]`` keeps Celery from that.
"""

import logging
from typing import Any

from .. import exceptions
from . import envelope

logger = logging.getLogger(__name__)

NAME = f"{__name__}:only_json"
_JSON = "application/json"


def only_json(task: Any, app: Any, consumer: Any, **options: Any) -> Any:
    """Return what receives the task's messages (see ``Task.Strategy`` of Celery)."""
    from celery.worker import strategy  # which a web process has no need of

    receive = strategy.default(task, app, consumer, **options)

    def receive_json(message: Any, body: Any, ack: Any, *more: Any, **also: Any) -> None:
        if message.content_type == _JSON:
            receive(message, body, ack, *more, **also)
            return
        ack(logger, consumer.connection_errors)  # first: it must not come again
        _refuse(task, message)

    return receive_json


def _refuse(task: Any, message: Any) -> None:
    text = f"content type {message.content_type!r:.100} is not {_JSON!r}"
    error = exceptions.error(exceptions.BAD_TASK_INFO, task_info=text)
    logger.error("%s: message refused: %s", task.name, error)
    headers = message.headers or {}
    if headers.get("ignore_result") is False and "id" in headers:
        try:
            task.backend.mark_as_done(headers["id"], envelope.failure(error))
        except Exception as unstored:  # a backend that is down, an id that is none
            logger.error("%s: the refusal was not stored: %r", task.name, unstored)
