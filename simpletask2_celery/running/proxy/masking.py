"""What errors and log lines may say of a proxy request: no part of it that is a secret.

The texts of requests' and urllib3's exceptions repeat URLs and headers, so we repeat none of
them: an error is described by its class, and by what the operating system, the DNS or TLS say.
"""

import logging
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from traceback import walk_tb
from typing import Any
from urllib.parse import urlsplit

import requests

#: Keywords of a request that are shown; any other may hold a secret.
_SHOWN = ("method", "timeout", "verify", "allow_redirects")
_HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d*)?")
_RELATIVE = re.compile(r"[\w./-]*")
_LONG = 200
_under_way: ContextVar[bool] = ContextVar("simpletask2_proxy_under_way", default=False)


def request(value: Any) -> Any:
    """Return what may be shown of a request; the name of its type if it is no dict."""
    if not isinstance(value, dict):
        return type(value).__name__
    plain = {name: _plain(value[name]) for name in _SHOWN if name in value}
    return {**plain, "url": url(value.get("url"))}


def url(value: object) -> str:
    """Return scheme, host and path of a URL, with ``***`` for parts that may be a secret."""
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
    except ValueError:
        return "***"
    userinfo, at, host = parts.netloc.rpartition("@")
    if not parts.scheme and not parts.netloc:
        return parts.path[:_LONG] if _RELATIVE.fullmatch(parts.path) else "***"
    # An "@" behind the host may end a password that has a slash or a question mark in it.
    stray = "@" in parts.path + parts.query + parts.fragment
    if stray or not _HOST.fullmatch(host):
        return f"{parts.scheme}://***" if parts.netloc else "***"
    return f"{parts.scheme}://{host}{parts.path[:_LONG]}"


def reason(error: BaseException) -> str:
    """Return the class of an error, and its cause in words that quote nothing."""
    name = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if words := _words(cause):
            return f"{name}: {words}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, requests.RequestException):
        return name
    # It comes from an argument of a wrong type; ``prepare_auth`` and the like say which.
    functions = [frame.f_code.co_name for frame, _ in walk_tb(error.__traceback__)]
    return f"{name} in {functions[-1] if functions else '?'}"


def _words(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError):
        return error.reason or ""
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return os.strerror(error.errno)
    return ""


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value[:2])
    if isinstance(value, str):
        return value[:_LONG]
    is_short = value is None or isinstance(value, float)
    if is_short or (isinstance(value, int) and abs(value) < 10**9):
        return value
    return type(value).__name__


@contextmanager
def masked_logs() -> Iterator[None]:
    """Keep requests and answers out of urllib3's own log lines."""
    token = _under_way.set(True)
    try:
        yield
    finally:
        _under_way.reset(token)


def _mask(record: logging.LogRecord) -> bool:
    if _under_way.get() and isinstance(record.args, tuple):
        items = record.args
        record.args = tuple(item if isinstance(item, (int, float)) else "***" for item in items)
        record.exc_info = None
    return True


for _name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_mask)
