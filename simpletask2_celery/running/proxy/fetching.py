"""Proxy steps: the request that one handler asks for and the next one gets.

Compatibility facts, section 4. Whatever is wrong with the request or its answer
becomes ``proxied_error``, for the handler to judge; nothing here raises.
"""

import base64
import difflib
import inspect
import logging
import os
import time
from http.client import RemoteDisconnected
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from celery.exceptions import SoftTimeLimitExceeded

from ...conf import conf
from ..steps import NOT_PROXIED
from . import masking
from . import policy as proxy_policy
from .policy import Policy, Refused

logger = logging.getLogger(__name__)

_KEYWORDS = sorted(set(inspect.signature(requests.Session.request).parameters) - {"self"})
_CHUNK = 16 * 1024
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # to send twice
_sessions: dict[Policy, requests.Session] = {}
os.register_at_fork(after_in_child=_sessions.clear)


def fetch(task_info: str, request: Any) -> dict[str, Any]:
    """Make the request; return the proxied part of the next step's payload.

    ``proxied_content`` is the body (base64 text, lines of 76), ``proxied_status`` an
    int and ``proxied_headers`` a dict of str; or ``proxied_error`` is a text.
    """
    began = time.perf_counter()
    try:
        with masking.masked_logs():
            return _exchange(_checked(request))
    except SoftTimeLimitExceeded:
        raise  # about the task, not about the request
    except Refused as error:
        reason = str(error)
    except Exception as error:  # requests raises nearly anything for a bad argument
        reason = masking.reason(error)
    about = {"task_info": task_info, "duration": time.perf_counter() - began}
    logger.info("%s: proxy request failed: %s", task_info, reason, extra=about)
    text = f"task {task_info} proxy request {masking.shown(request)} failed: {reason}"
    return {**NOT_PROXIED, "proxied_error": text}


def _checked(request: Any) -> dict[str, Any]:
    if not isinstance(request, dict):
        raise Refused(f"proxy must be a dict, not {type(request).__name__}")
    for name in request:
        if name not in _KEYWORDS:
            near = difflib.get_close_matches(str(name), _KEYWORDS, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise Refused(f"requests has no keyword {name!r}{hint}")
    if missing := {"method", "url"} - set(request):
        raise Refused(f"proxy needs {' and '.join(sorted(missing))}")
    return request


def _exchange(request: dict[str, Any]) -> dict[str, Any]:
    proxy_policy.current().require_direct(request)
    options = {"timeout": conf.proxy_timeout, **request, "stream": True}
    with _answer_to(options) as response:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > conf.proxy_max_size:
                raise Refused(f"the response is over {conf.proxy_max_size} bytes")
        return {
            "proxied_content": base64.encodebytes(body).decode("ascii"),
            "proxied_error": None,
            "proxied_status": response.status_code,
            "proxied_headers": dict(response.headers),
        }


def _answer_to(options: dict[str, Any]) -> requests.Response:
    """Make the request; once more where a kept connection was closed under it.

    That is for methods that do no harm twice, of which no byte of an answer came:
    RFC 9110, section 9.2.2.
    """
    try:
        return _session().request(**options)
    except requests.ConnectionError as error:
        if not (_was_closed(error) and _can_be_repeated(options)):
            raise
        return _session().request(**options)


def _was_closed(error: BaseException) -> bool:
    """Tell whether the server has closed the connection without an answer."""
    causes: list[Any] = [error, *error.args]
    for cause in causes:
        causes += [one for one in getattr(cause, "args", ()) if isinstance(one, Exception)]
        if isinstance(cause, (RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
            return True
    return False


def _can_be_repeated(options: dict[str, Any]) -> bool:
    """Tell whether the method is idempotent and the body, if any, can be sent again."""
    body = options.get("data")
    plain = body is None or isinstance(body, (str, bytes, dict, list, tuple))
    return plain and not options.get("files") and str(options["method"]).upper() in _SAFE


def _session() -> requests.Session:
    """Return this process's session: connections are kept, cookies are not.

    One for each policy, so that a kept connection never outlives the policy that it
    was made under.
    """
    policy = proxy_policy.current()
    if policy not in _sessions:
        session = proxy_policy.session(policy, connections=256)
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        _sessions[policy] = session
    return _sessions[policy]
