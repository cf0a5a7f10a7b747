"""Proxy steps: the request that one handler asks for, and its answer for the next one.

Section 4 of the compatibility page. Whatever is wrong with the request or its answer
becomes ``proxied_error``, for the handler to judge; nothing here raises.
"""

import base64
import difflib
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import requests
from celery.exceptions import SoftTimeLimitExceeded
from requests.adapters import HTTPAdapter

from . import masking
from . import policy as proxy_policy
from .policy import Adapter, Policy, Refused, Session

logger = logging.getLogger(__name__)

MakeAdapter = Callable[[Policy], HTTPAdapter]

_KEYWORDS = sorted(set(inspect.signature(requests.Session.request).parameters) - {"self"})
_PAIRS = ("auth", "cert", "timeout")  # which requests takes as tuples, and JSON has as lists
_encoding = threading.Lock()
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # to send twice


class _Sessions(dict[Policy, requests.Session]):
    """A session for each policy: a kept connection never outlives the policy it was made under."""

    def __init__(self, make_adapter: MakeAdapter) -> None:
        super().__init__()
        self.make_adapter = make_adapter

    def __missing__(self, policy: Policy) -> requests.Session:
        session = self[policy] = Session(policy, self.make_adapter)
        return session


_sessions = _Sessions(Adapter)


def _forget_parent() -> None:
    global _encoding
    _encoding = threading.Lock()
    _sessions.clear()


os.register_at_fork(after_in_child=_forget_parent)


@contextmanager
def connected_by(make_adapter: MakeAdapter) -> Iterator[MakeAdapter]:
    """Make the requests of all threads by other adapters inside; yield what makes them outside."""
    global _sessions
    outside, _sessions = _sessions, _Sessions(make_adapter)
    try:
        yield outside.make_adapter
    finally:
        _sessions = outside


def fetch(task_info: str, request: Any, policy: Policy | None = None) -> dict[str, Any]:
    """Make the request by the policy, or by that of the settings; return its answer.

    That is a part of the next step's payload: ``proxied_content`` is the body (base64
    text, lines of 76), ``proxied_status`` an int and ``proxied_headers`` a dict of str; or
    ``proxied_error`` is a text.
    """
    began = time.perf_counter()
    try:
        with masking.masked_logs():
            return _exchange(request, policy or proxy_policy.current())
    except SoftTimeLimitExceeded:
        raise  # about the task, not about the request
    except Refused as error:
        reason = str(error)
    except Exception as error:  # requests raises nearly anything for a bad argument
        reason = masking.reason(error)
    return failure(task_info, request, reason, time.perf_counter() - began)


def failure(task_info: str, request: Any, reason: str, seconds: float = 0.0) -> dict[str, Any]:
    """Log that a request has no answer, and return what the next step gets in its place."""
    about = {"task_info": task_info, "duration": seconds}
    logger.info("%s: proxy request failed: %s", task_info, reason, extra=about)
    text = f"task {task_info} proxy request {masking.request(request)} failed: {reason}"
    return {
        "proxied_content": None,
        "proxied_error": text,
        "proxied_status": None,
        "proxied_headers": None,
    }


def _require_valid(request: Any, policy: Policy) -> None:
    """Raise Refused for what ``requests`` could not be called with, or must not be."""
    if not isinstance(request, dict):
        raise Refused(f"proxy must be a dict, not {type(request).__name__}")
    for name in request:
        if name not in _KEYWORDS:
            near = difflib.get_close_matches(str(name), _KEYWORDS, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise Refused(f"requests has no keyword {name!r}{hint}")
    if missing := {"method", "url"} - set(request):
        raise Refused(f"proxy needs {' and '.join(sorted(missing))}")
    if policy.needs_direct and request.get("proxies"):
        raise Refused(
            "proxies would hide the host from DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS "
            "and _REFUSE_PRIVATE; leave the keyword out"
        )


def _exchange(request: Any, policy: Policy) -> dict[str, Any]:
    _require_valid(request, policy)
    pairs = {name: tuple(request[name]) for name in _PAIRS if isinstance(request.get(name), list)}
    options = {"timeout": policy.timeout, **request, **pairs, "stream": True}
    options["timeout"] = _limited(options["timeout"], policy.longest)
    with _response(options, policy) as response:
        body = bytearray()
        for chunk in response.iter_content(16 * 1024):
            body += chunk
            if len(body) > policy.max_size:
                raise Refused(f"the response is over {policy.max_size} bytes")
        return {
            "proxied_content": _base64(body),
            "proxied_error": None,
            "proxied_status": response.status_code,
            "proxied_headers": dict(response.headers),
        }


def _base64(body: bytearray) -> str:
    """Return the body as text, and empty it; large ones by one thread at a time, for the memory."""
    with _encoding:
        text = base64.encodebytes(body).decode("ascii")
        body.clear()
        return text


def _limited(timeout: Any, longest: float) -> Any:
    """Return a timeout of requests, in which no limit is above ``longest``, and none is missing."""
    if longest == inf:
        return timeout
    if isinstance(timeout, tuple):
        return tuple(_limited(one, longest) for one in timeout)
    return longest if timeout is None else min(timeout, longest)


def _response(options: dict[str, Any], policy: Policy) -> requests.Response:
    """Make the request; make it again if the server closed a kept connection without an answer."""
    try:
        return _sessions[policy].request(**options)
    except requests.ConnectionError as error:
        # It wraps an error of urllib3, which wraps the socket's.
        causes = [cause for wrapped in error.args for cause in getattr(wrapped, "args", ())]
        is_closed = any(isinstance(one, (ConnectionResetError, BrokenPipeError)) for one in causes)
        # RFC 9110, section 9.2.2: these may be sent twice.
        is_safe = str(options["method"]).upper() in _SAFE and not options.get("files")
        is_plain = isinstance(options.get("data"), (type(None), str, bytes, dict, list, tuple))
        if not (is_closed and is_safe and is_plain):
            raise
        return _sessions[policy].request(**options)
