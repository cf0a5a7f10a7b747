"""Proxy steps: the request that one handler asks for and the next one gets.

Compatibility facts, section 4. Whatever is wrong with the request or its answer
becomes ``proxied_error``, for the handler to judge; nothing here raises.
"""

import base64
import difflib
import inspect
import logging
import os
import re
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter

from .conf import conf

logger = logging.getLogger(__name__)

#: What a step gets that no proxy request came before.
NOTHING: dict[str, Any] = {
    "proxied_content": None,
    "proxied_error": None,
    "proxied_status": None,
    "proxied_headers": None,
}
_KEYWORDS = sorted(set(inspect.signature(requests.Session.request).parameters) - {"self"})
#: What an error may show of a request; all else may hold a secret.
_SHOWN = ("method", "timeout", "verify", "allow_redirects")
_CHUNK = 16 * 1024
_sessions: list[requests.Session] = []
os.register_at_fork(after_in_child=_sessions.clear)


class _Refused(Exception):
    """A request that cannot be made, or an answer that cannot be taken."""


def requested(data: Any) -> Any:
    """Return the request that a handler's answer asks for, or None."""
    return data.get("proxy") if isinstance(data, dict) else None


def fetch(task_info: str, request: Any) -> dict[str, Any]:
    """Make the request; return the proxied part of the next step's payload.

    ``proxied_content`` is the body (base64 text, lines of 76), ``proxied_status`` an
    int and ``proxied_headers`` a dict of str; or ``proxied_error`` is a text.
    """
    try:
        return _exchange(_checked(request))
    except Exception as error:  # requests raises nearly anything for a bad argument
        reason = _without_secrets(str(error) or type(error).__name__, request)
        logger.info("%s: proxy request failed: %s", task_info, type(error).__name__)
        text = f"task {task_info} proxy request {_shown(request)} failed: {reason}"
        return {**NOTHING, "proxied_error": text}


def _checked(request: Any) -> dict[str, Any]:
    if not isinstance(request, dict):
        raise _Refused(f"proxy must be a dict, not {type(request).__name__}")
    for name in request:
        if name not in _KEYWORDS:
            near = difflib.get_close_matches(str(name), _KEYWORDS, n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise _Refused(f"requests has no keyword {name!r}{hint}")
    if missing := {"method", "url"} - set(request):
        raise _Refused(f"proxy needs {' and '.join(sorted(missing))}")
    return request


def _exchange(request: dict[str, Any]) -> dict[str, Any]:
    options = {"timeout": conf.proxy_timeout, **request, "stream": True}
    with _session().request(**options) as response:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > conf.proxy_max_size:
                raise _Refused(f"the response is over {conf.proxy_max_size} bytes")
        return {
            "proxied_content": base64.encodebytes(body).decode("ascii"),
            "proxied_error": None,
            "proxied_status": response.status_code,
            "proxied_headers": dict(response.headers),
        }


def _session() -> requests.Session:
    """Return this process's session: connections are kept, cookies are not."""
    if not _sessions:
        session = requests.Session()
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=100))
        _sessions.append(session)
    return _sessions[0]


def _shown(request: Any) -> Any:
    if not isinstance(request, dict):
        return type(request).__name__
    shown = {name: request[name] for name in _SHOWN if name in request}
    return {**shown, "url": _public_url(request.get("url"))}


def _public_url(url: Any) -> str:
    try:
        parts = urlsplit(str(url))
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "***"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _without_secrets(reason: str, request: Any) -> str:
    """Cut queries and the password of the URL out of an error's text."""
    if isinstance(request, dict):
        url = str(request.get("url"))
        reason = reason.replace(url, _public_url(url))
        try:
            password = urlsplit(url).password
        except ValueError:
            password = None
        if password:
            reason = reason.replace(password, "***")
    return re.sub(r"\?\S+", "?***", reason)  # of the URL, and what params added to it
