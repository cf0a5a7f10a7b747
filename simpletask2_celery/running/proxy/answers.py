"""HTTP answers that a test gives: an adapter beside the real one that replaces the network.

All else is real: requests makes, signs and redirects the request, the policy of the
settings is asked about every hop, and what fails becomes a masked ``proxied_error``.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.utils.translation import gettext as translate
from requests import PreparedRequest, Request
from urllib3 import HTTPResponse

from ...rows.interruptions import Interruption
from . import fetching, masking
from .policy import Adapter, Policy, require_public

Find = Callable[[PreparedRequest], Any]


class Unanswered(AssertionError):
    """A request came that no answer is given for."""


class _Ended(Interruption):
    """Carries what is wrong with the test itself, its argument, past all that handles errors.

    No Exception: neither the proxy step nor Celery may take it for a failed request.
    """


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

    def _urlopen(self, method: str, **options: Any) -> HTTPResponse:
        """Return the answer as a connection of urllib3 does."""
        body, content_type = self.content()
        headers = {"Content-Length": str(len(body)), **self.headers}
        if content_type and "content-type" not in map(str.lower, headers):
            headers["Content-Type"] = content_type
        sent = BytesIO(b"" if method == "HEAD" else body)
        return HTTPResponse(
            sent, headers, self.status, preload_content=False, request_method=method
        )


@contextmanager
def answering(answers: Any) -> Iterator[list[PreparedRequest]]:
    """Answer the proxy requests made inside, and yield the list of those that came.

    ``answers`` is a dict {URL: answer}, in which a URL without a query stands for any
    query; a list of answers, in order; or a function that is given the
    ``requests.PreparedRequest`` and returns an answer, or None where it has none. An
    answer is an ``Answer``, its body alone (str, bytes, dict, list), or an exception of
    ``requests`` or of the system (OSError), which is raised in its place. With None the
    answers of the ``answering`` around this one hold.

    Raises TypeError or ValueError for answers that are none of these. Raises Unanswered for
    a request that nobody answers, which ends the run where it is, as does anything else that
    a function raises.
    """
    inside = _Answers(answers)
    with fetching.connected_by(inside) as outside:
        if answers is None and isinstance(outside, _Answers):
            inside.find = outside.answer_to
        try:
            yield inside.requests
        except _Ended as ended:
            raise ended.args[0] from None


class _Answers:
    """The answers of one ``answering``, and the requests that came; makes its adapters."""

    def __init__(self, answers: Any) -> None:
        self.requests: list[PreparedRequest] = []
        self.find, self._hint = _finder(answers)

    def __call__(self, policy: Policy) -> Adapter:
        return _Adapter(policy, self)

    def answer_to(self, request: PreparedRequest) -> Answer:
        """Return the answer, or raise the exception that stands for it."""
        self.requests.append(request)
        try:
            answer = self.find(request)
            if answer is None:
                text = translate("Nobody answers {method} {url}. {known}")
                url = _masked(str(request.url))
                raise Unanswered(text.format(method=request.method, url=url, known=self._hint))
            answer = _answer(answer)
            if isinstance(answer, Answer):
                return answer
            raise answer
        except OSError:  # those of requests, too
            raise
        except Exception as error:
            raise _Ended(error) from error


class _Adapter(Adapter):
    """Checks a request as the real adapter does, and answers it without a network."""

    def __init__(self, policy: Policy, answers: _Answers) -> None:
        super().__init__(policy)
        self._answers = answers

    def get_connection_with_tls_context(
        self, request: PreparedRequest, *args: Any, **kwargs: Any
    ) -> Any:
        super().get_connection_with_tls_context(request, *args, **kwargs)  # reaches no host
        if self.policy.refuse_private:
            host = urlsplit(request.url or "").hostname or ""
            with suppress(ValueError):  # a name, which is not looked up
                require_public(host, "127.0.0.1" if host == "localhost" else host)
        # requests sets attributes of the connection, and calls its ``urlopen``.
        return SimpleNamespace(urlopen=self._answers.answer_to(request)._urlopen)


def _finder(answers: Any) -> tuple[Find, str]:
    """Return what finds the answer to a request, and what to say where there is none."""
    if answers is None:
        text = translate("No answers are given: {example}.")
        example = 'run(row, proxy={"https://…": "answer"})'
        return (lambda request: None), text.format(example=example)
    if isinstance(answers, Mapping):
        return _by_url(answers)
    if isinstance(answers, Sequence) and not isinstance(answers, (str, bytes)):
        rest = iter([_answer(answer) for answer in answers])
        text = translate("The list of answers has {count}, and all are used up.")
        return (lambda request: next(rest, None)), text.format(count=len(answers))
    if callable(answers):
        return answers, translate("The function that answers returned None.")
    text = translate("answers are a dict, a list or a function, not {value!r}.")
    raise TypeError(text.format(value=answers))


def _by_url(answers: Mapping[Any, Any]) -> tuple[Find, str]:
    by_url = {_url(key): _answer(answer) for key, answer in answers.items()}
    by_parts = {_parts(url): answer for url, answer in by_url.items()}

    def find(request: PreparedRequest) -> Any:
        base, query = _parts(str(request.url))
        return by_parts.get((base, query)) or by_parts.get((base, ()))

    text = translate("There are answers for: {urls}. (Values of a query are not shown, but count.)")
    return find, text.format(urls=", ".join(map(_masked, by_url)))


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
    return str(Request("GET", key).prepare().url)


def _parts(url: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return a URL without its query, and the names and values of the query in one order."""
    parts = urlsplit(url)
    query = sorted(parse_qsl(parts.query, keep_blank_values=True))
    return parts._replace(query="", fragment="").geturl(), tuple(query)


def _masked(url: str) -> str:
    names = [f"{name}=***" for name, _ in _parts(url)[1]]
    return masking.url(url) + ("?" if names else "") + "&".join(names)
