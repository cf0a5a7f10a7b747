"""The HTTP API of the original, for servers that drive the steps themselves.

Compatibility facts, section 8. Whatever is sent, the answer is HTTP 200 with the
envelope and a code, and what is refused has changed nothing.
"""

import functools
import json
import logging
from collections.abc import Callable
from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.db import connections, transaction
from django.http import HttpRequest, JsonResponse, RawPostDataException
from django.http.request import UnreadablePostError
from django.utils.translation import gettext as translate
from django.views.decorators.csrf import csrf_exempt

from .. import exceptions
from ..exceptions import DjangoSimpleTask2Error
from ..recovery import auto_reset
from ..rows import task_info
from ..rows.model import Row, task_models
from ..running import envelope
from . import reservations
from .authentication import require_aclkey

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest], JsonResponse]

MOST_CHANNELS = 1000  # of a get_a_task

#: The body that a client did not send to its end, or a middleware has read.
_UNREAD = (UnreadablePostError, RawPostDataException)
_LEVELS = {
    exceptions.NO_TASK: logging.DEBUG,  # the answer to an idle server's every question
    exceptions.ACLKEY_MISSING: logging.WARNING,
    exceptions.ACLKEY_WRONG: logging.WARNING,
    exceptions.NO_HANDLER: logging.ERROR,
    exceptions.HANDLER_FAILED: logging.ERROR,
    exceptions.FINISH_NOT_SAVED: logging.ERROR,
    exceptions.STEP_NOT_SAVED: logging.ERROR,
}


def api(act: Callable[[dict[str, Any]], Any]) -> View:
    """Make a view of what acts on a payload: key, envelope and error handling."""

    @functools.wraps(act)
    def view(request: HttpRequest) -> JsonResponse:
        payload: dict[str, Any] = {}
        try:
            payload = _payload(request)
            require_aclkey(payload)
            return JsonResponse(envelope.success(act(payload)))
        except DjangoSimpleTask2Error as error:
            level = _LEVELS.get(error.code, logging.INFO)
            trace = level == logging.ERROR
            about = _about(payload, error)
            logger.log(level, "%s: %s", act.__name__, error, exc_info=trace, extra=about)
            return JsonResponse(envelope.failure(error))
        except Exception:
            logger.exception("%s failed", act.__name__)
            unforeseen = exceptions.error(exceptions.SYSTEM_ERROR)
            return JsonResponse(envelope.failure(unforeseen))

    # Its key is its login: LoginRequiredMiddleware would send a server to a form.
    view.login_required = False  # type: ignore[attr-defined]
    for alias in connections:
        # With ATOMIC_REQUESTS a claim would be seen after the handler had run.
        view = transaction.non_atomic_requests(alias)(view)
    return csrf_exempt(view)


@api
def do_task(payload: dict[str, Any]) -> dict[str, Any]:
    """Run one step of a row: ``task_info``, ``step``, what a proxy request brought.

    Returns what :meth:`SimpleTask.do_task` does. Raises DjangoSimpleTask2Error.
    """
    name = payload.get("task_info")
    if name in (None, ""):
        given = task_info.short(payload)
        raise exceptions.error(exceptions.TASK_INFO_MISSING, payload=given)
    for field in ("proxied_content", "proxied_error"):
        if not isinstance(payload.get(field), (str, type(None))):
            raise _bad_field(field)
    model, using, pk = task_info.row_of_text(Row, name)
    row = model._base_manager.using(using).filter(pk=pk).first()
    if row is None:
        found = task_info.text(model, pk)
        raise exceptions.error(exceptions.ROW_GONE, task_info=found)
    return envelope.storable(row.do_task(payload))


@api
def get_a_task(payload: dict[str, Any]) -> str:
    """Hand out a READY row of the ``channels`` ("a,b"); return its "app.model:pk".

    Raises DjangoSimpleTask2Error 2910012 where there is none.
    """
    channels = payload.get("channels", "default")
    if not isinstance(channels, str):
        raise _bad_field("channels")
    names = [name.strip() for name in channels.split(",") if name.strip()]
    if len(names) > MOST_CHANNELS:
        reason = translate("`channels` holds more than {most} names.")
        reason = reason.format(most=MOST_CHANNELS)
        raise exceptions.error(exceptions.BAD_PAYLOAD, reason)
    return reservations.take(names, task_models())


@api
def do_auto_reset(payload: dict[str, Any]) -> dict[str, int]:
    """Reset and publish the rows whose lease is over; return {"app.model": number}."""
    return auto_reset.run()


def _payload(request: HttpRequest) -> dict[str, Any]:
    if request.method != "POST":
        raise exceptions.error(exceptions.BAD_PAYLOAD)
    try:
        payload = json.loads(request.body)
    except (ValueError, RecursionError, SuspiciousOperation, *_UNREAD):
        # No JSON, integers or nesting beyond Python's limits, a body beyond Django's.
        raise exceptions.error(exceptions.BAD_PAYLOAD) from None
    if not isinstance(payload, dict):
        raise exceptions.error(exceptions.BAD_PAYLOAD)
    return payload


def _about(payload: dict[str, Any], error: DjangoSimpleTask2Error) -> dict[str, Any]:
    """Return what the log's record of an error tells, of a stranger's payload too."""
    about: dict[str, Any] = {"code": error.code}
    if "task_info" in payload:
        about["task_info"] = task_info.short(payload["task_info"])
    if type(payload.get("step")) is int:
        about["step"] = payload["step"]
    return about


def _bad_field(name: str) -> DjangoSimpleTask2Error:
    reason = translate("`{field}` must be a string.").format(field=name)
    return exceptions.error(exceptions.BAD_PAYLOAD, reason)
