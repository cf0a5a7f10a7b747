"""A stand-in for what proxy requests reach: answers that a test gives, and no network.

All else is real: requests makes, signs and redirects the request, the policy of the
settings is asked about every hop, and what fails becomes a masked ``proxied_error``.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from ipaddress import ip_address
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import requests
from django.utils.translation import gettext as translate
from urllib3 import HTTPResponse

from ...rows.interruptions import Interruption
from . import masking
from . import policy as proxy_policy

Find = Callable[[requests.PreparedRequest], Any]


class Unanswered(AssertionError):
    """A request came that no answer is given for."""


class _Ended(Interruption):
    """Carries what is wrong with the test itself past everybody who handles errors.

    No Exception: neither the proxy step nor Celery may take it for a failed request.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


@dataclass(frozen=True)
class Answer:
    """An answer of a server: body (str, bytes, or what JSON has), status and headers.

    ``Content-Type`` follows from the body where the headers have none. Raises TypeError
    for a body that is none of these.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.status, bool) or not isinstance(self.status, int):
            text = translate("status must be an HTTP status (int), not {value!r}.")
            raise TypeError(text.format(value=self.status))
        self.content()

    def content(self) -> tuple[bytes, str | None]:
        """Return the body as bytes, and its type."""
        if isinstance(self.body, bytes):
            return self.body, None
        if isinstance(self.body, str):
            return self.body.encode(), "text/plain; charset=utf-8"
        try:
            return json.dumps(self.body).encode(), "application/json"
        except (TypeError, ValueError) as error:
            text = translate("body must be str, bytes or what JSON has: {error}.")
            raise TypeError(text.format(error=error)) from error


@contextmanager
def answering(answers: Any) -> Iterator[list[requests.PreparedRequest]]:
    """Answer the proxy requests made inside, and yield the list of those that came.

    ``answers`` is a dict {URL: answer}, in which a URL without a query stands for any
    query; a list of answers, in order; or a function that is given the
    ``requests.PreparedRequest`` and returns an answer, or None where it has none. An
    answer is an ``Answer``, its body alone (str, bytes, dict, list), or an exception of
    ``requests`` or of the system (OSError), which is raised in its place. With None the
    answers of the ``answering`` around this one hold.

    Raises TypeError or ValueError for answers that are none of these; Unanswered, which
    ends the run where it is, for a request that nobody answers; and so what else a
    function raises.
    """
    stand_in = _StandIn(answers, proxy_policy._Adapter.get_connection_with_tls_context)

    def connect(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        return stand_in.connect(adapter, request, *args, **kwargs)

    name = "get_connection_with_tls_context"
    with mock.patch.object(proxy_policy._Adapter, name, connect):
        try:
            yield stand_in.came
        except _Ended as ended:
            raise ended.error from None


_really_connect = proxy_policy._Adapter.get_connection_with_tls_context


class _StandIn:
    """Stands where requests asks for the connection to a host."""

    def __init__(self, answers: Any, outer: Any) -> None:
        self.came: list[requests.PreparedRequest] = []
        self._outer = outer if answers is None and outer is not _really_connect else None
        self._find, self._known = _finder(answers)

    def connect(self, adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        _really_connect(adapter, request, *args, **kwargs)  # asks the policy, and no host
        _require_public(adapter._policy, request.url)
        self.came.append(request)
        if self._outer:
            return self._outer(adapter, request, *args, **kwargs)
        answer = self._answer(request)
        if isinstance(answer, OSError):
            raise answer
        return _Wire(answer)

    def _answer(self, request: requests.PreparedRequest) -> Any:
        try:
            answer = self._find(request)
            if answer is None:
                raise _unanswered(request, self._known)
            return _answer(answer)
        except OSError as error:  # those of requests, too
            return error
        except Exception as error:
            raise _Ended(error) from error


class _Wire:
    """Stands for a connection, as requests uses one."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def urlopen(self, method: str, **options: Any) -> HTTPResponse:
        body, content_type = self._answer.content()
        headers = {"Content-Length": str(len(body)), **self._answer.headers}
        if content_type and "content-type" not in map(str.lower, headers):
            headers["Content-Type"] = content_type
        return HTTPResponse(
            BytesIO(b"" if method == "HEAD" else body),
            headers=headers,
            status=self._answer.status,
            preload_content=False,
            request_method=method,
        )


def _finder(answers: Any) -> tuple[Find, str]:
    """Return what finds the answer of a request, and what there is in words."""
    if answers is None:
        text = translate("No answers are given: {example}.")
        example = 'run(row, proxy={"https://…": "answer"})'
        return (lambda request: None), text.format(example=example)
    if isinstance(answers, Mapping):
        return _by_url(answers)
    if isinstance(answers, Sequence) and not isinstance(answers, (str, bytes)):
        return _in_order(answers)
    if callable(answers):
        return answers, translate("The function that answers returned None.")
    text = translate("answers are a dict, a list or a function, not {value!r}.")
    raise TypeError(text.format(value=answers))


def _by_url(answers: Mapping[Any, Any]) -> tuple[Find, str]:
    known = {_url(key): _answer(answer) for key, answer in answers.items()}

    def find(request: requests.PreparedRequest) -> Any:
        base, query = _parts(str(request.url))
        exact = [known[url] for url in known if _parts(url) == (base, query)]
        return exact[0] if exact else known.get(base)

    text = translate("There are answers for: {urls}. (Values of a query are not shown, but count.)")
    return find, text.format(urls=", ".join(map(_shown, known)))


def _in_order(answers: Sequence[Any]) -> tuple[Find, str]:
    left = iter([_answer(answer) for answer in answers])
    text = translate("The list of answers has {count}, and all are used up.")
    return (lambda request: next(left, None)), text.format(count=len(answers))


def _answer(answer: Any) -> Answer | OSError:
    if isinstance(answer, type) and issubclass(answer, OSError):
        return answer()
    if isinstance(answer, (Answer, OSError)):
        return answer
    if isinstance(answer, (str, bytes, dict, list)):
        return Answer(answer)
    text = translate(
        "an answer is an Answer, its body (str, bytes, dict, list) or an exception of "
        "requests or of the system (OSError), not {value!r}."
    )
    raise TypeError(text.format(value=answer))


def _url(key: Any) -> str:
    """Return a URL as requests would ask for it."""
    if not isinstance(key, str) or urlsplit(key).scheme.lower() not in ("http", "https"):
        text = translate(
            "{key!r} is no URL: the keys of a dict of answers are URLs. To answer with "
            "that dict, give it in a list."
        )
        raise ValueError(text.format(key=key))
    return str(requests.Request("GET", key).prepare().url)


def _parts(url: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a URL without its query, and the query in any order."""
    parts = urlsplit(url)
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    return parts._replace(query="", fragment="").geturl(), query


def _unanswered(request: requests.PreparedRequest, known: str) -> Unanswered:
    text = translate("Nobody answers {method} {url}. {known}")
    url = _shown(str(request.url))
    return Unanswered(text.format(method=request.method, url=url, known=known))


def _shown(url: str) -> str:
    names = [f"{name}=***" for name, _ in _parts(url)[1]]
    return masking.url(url) + ("?" if names else "") + "&".join(names)


def _require_public(policy: proxy_policy.Policy, url: str) -> None:
    """Raise Refused for an address that is not public. Names are not looked up."""
    host = urlsplit(url).hostname or ""
    if policy.refuse_private and (host == "localhost" or _is_address(host)):
        proxy_policy._public_addresses(host, 0)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
