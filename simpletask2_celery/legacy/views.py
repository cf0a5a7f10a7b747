"""The HTTP API of the original, for servers that drive the steps themselves.

Section 8 of the compatibility page. Every answer is HTTP 200 with the envelope and a code.
A request that is refused has changed nothing.
"""

import functools
import json
import logging
from collections.abc import Callable
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import SuspiciousOperation
from django.db import connections, transaction
from django.http import HttpRequest, JsonResponse, RawPostDataException
from django.http.request import UnreadablePostError
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as translate
from django.views.decorators.csrf import csrf_exempt

from .. import exceptions
from ..conf import conf
from ..exceptions import DjangoSimpleTask2Error
from ..recovery import auto_reset
from ..rows import lookup, querysets, task_info
from ..running import envelope
from . import reservations

logger = logging.getLogger(__name__)

MOST_CHANNELS = 1000  # of a get_a_task
_LEVELS = {  # of the log; INFO for other errors
    exceptions.NO_TASK: logging.DEBUG,  # the answer to an idle server's every question
    exceptions.ACLKEY_MISSING: logging.WARNING,
    exceptions.ACLKEY_WRONG: logging.WARNING,
    exceptions.NO_HANDLER: logging.ERROR,
    exceptions.HANDLER_FAILED: logging.ERROR,
    exceptions.FINISH_NOT_SAVED: logging.ERROR,
    exceptions.STEP_NOT_SAVED: logging.ERROR,
}


def api(act: Callable[[dict[str, Any]], Any]) -> Callable[[HttpRequest], JsonResponse]:
    """Make a view of a function of a payload: key, envelope and error handling."""

    @functools.wraps(act)
    def view(request: HttpRequest) -> JsonResponse:
        payload: dict[str, Any] = {}
        try:
            payload = _payload(request)
            _require_aclkey(payload)
            return JsonResponse(envelope.success(act(payload)))
        except DjangoSimpleTask2Error as error:
            _log(act.__name__, payload, error)
            return JsonResponse(envelope.failure(error))
        except Exception:
            logger.exception("%s failed", act.__name__)
            return JsonResponse(envelope.failure(exceptions.error(exceptions.SYSTEM_ERROR)))

    for alias in connections:
        # With ATOMIC_REQUESTS a claim would be seen after the handler had run.
        view = transaction.non_atomic_requests(alias)(view)
    # The key is the login: LoginRequiredMiddleware would send a server to a form.
    return csrf_exempt(login_not_required(view))


@api
def do_task(payload: dict[str, Any]) -> dict[str, Any]:
    """Run one step of a row: ``task_info``, ``step``, and what a proxy request brought."""
    if (name := payload.get("task_info")) in (None, ""):
        raise exceptions.error(exceptions.TASK_INFO_MISSING, payload=task_info.short(payload))
    for field in ("proxied_content", "proxied_error"):
        if payload.get(field) is not None:
            _require_text(field, payload[field])
    model, using, pk = lookup.row_of_text(name)
    row = querysets.load(model, using, pk)
    if row is None:
        raise exceptions.error(exceptions.ROW_GONE, task_info=task_info.text(model, pk))
    return envelope.storable(row.do_task(payload))


@api
def get_a_task(payload: dict[str, Any]) -> str:
    """Hand out a READY row of the ``channels`` ("a,b"); return its "app.model:pk"."""
    channels = payload.get("channels", "default")
    _require_text("channels", channels)
    names = [name.strip() for name in channels.split(",") if name.strip()]
    if len(names) > MOST_CHANNELS:
        reason = translate("`channels` holds more than {most} names.")
        raise exceptions.error(exceptions.BAD_PAYLOAD, reason.format(most=MOST_CHANNELS))
    return reservations.take(names)


@api
def do_auto_reset(payload: dict[str, Any]) -> dict[str, int]:
    """Reset and publish the rows whose lease is over; return {"app.model": number}."""
    return auto_reset.run()


def _payload(request: HttpRequest) -> dict[str, Any]:
    try:
        payload = json.loads(request.body) if request.method == "POST" else None
    except (UnreadablePostError, RawPostDataException):
        payload = None  # a client has not sent all of its body, or a middleware has read it
    except (ValueError, RecursionError, SuspiciousOperation):
        payload = None  # no JSON, or beyond the limits of Python or Django
    if not isinstance(payload, dict):
        raise exceptions.error(exceptions.BAD_PAYLOAD)
    return payload


def _require_aclkey(payload: dict[str, Any]) -> None:
    """Check the key (section 6 of the compatibility page), and take it out of the payload."""
    key = payload.pop("aclkey", None)
    if not key:
        raise exceptions.error(exceptions.ACLKEY_MISSING)
    # JSON can carry a lone surrogate, which no other error handler encodes as itself.
    if not isinstance(key, str) or not constant_time_compare(
        key.encode(errors="surrogatepass"), conf.aclkey
    ):
        raise exceptions.error(exceptions.ACLKEY_WRONG)


def _require_text(field: str, value: object) -> None:
    if not isinstance(value, str):
        reason = translate("`{field}` must be a string.").format(field=field)
        raise exceptions.error(exceptions.BAD_PAYLOAD, reason)


def _log(name: str, payload: dict[str, Any], error: DjangoSimpleTask2Error) -> None:
    extra: dict[str, Any] = {"code": error.code}
    if "task_info" in payload:
        extra["task_info"] = task_info.short(payload["task_info"])
    if type(payload.get("step")) is int:
        extra["step"] = payload["step"]
    level = _LEVELS.get(error.code, logging.INFO)
    logger.log(level, "%s: %s", name, error, exc_info=level == logging.ERROR, extra=extra)
