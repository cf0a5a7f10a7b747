"""What errors and logs say of a proxy request that reaches nobody: nothing secret."""

import base64
import logging
import signal
import socket
import time
from urllib.parse import quote

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from simpletask2_celery.running.proxy import fetching, masking

pytestmark = pytest.mark.usefixtures("no_kept_connections")


SECRET = "s3cr:t/ö"


USER = "the-user"


BASIC = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()


FORMS = (SECRET, quote(SECRET), quote(SECRET, safe=""), BASIC, "s3cr", USER, "%C3%B6")


AT_NOBODY = "http://127.0.0.1:1/path"


QUOTED = quote(SECRET, safe="")


def silent_about_it(caplog, answer):
    assert answer["proxied_error"], "the request was to fail"
    for text in (answer["proxied_error"], caplog.text):
        for form in FORMS:
            assert form not in text, text


class Talkative:
    """Tells all in its repr, as exceptions of libraries do."""

    def __repr__(self):
        return f"<{SECRET}>"

    __str__ = __repr__


class Broken:
    def __repr__(self):
        raise ValueError(SECRET)

    __str__ = __repr__


def raises(error):
    def auth(request):
        raise error

    return auth


@pytest.mark.parametrize(
    "request_",
    [
        # the URL: userinfo and query, whole, encoded, misplaced and unparseable
        {"url": f"http://{USER}:{QUOTED}@127.0.0.1:1/path"},
        {"url": f"http://{USER}:{SECRET}@127.0.0.1:1/path"},
        {"url": f"http://{USER}:12/{SECRET}@127.0.0.1:1/path"},
        {"url": f"http://{USER}:12?{SECRET}@127.0.0.1:1/path"},
        {"url": f"http://{USER}:12#{SECRET}@127.0.0.1:1/path"},
        {"url": f"http://{QUOTED}@127.0.0.1:1/path"},
        {"url": f"http://{USER}:s3cr\\t@127.0.0.1:1/path"},
        {"url": f"http:\\\\{USER}:{SECRET}@127.0.0.1/"},
        {"url": f"http:/{USER}:{SECRET}@127.0.0.1/"},
        {"url": f"http:///{USER}:{SECRET}@127.0.0.1/"},
        {"url": f"{USER}:{SECRET}@127.0.0.1/path"},
        {"url": f"//{USER}:{SECRET}@127.0.0.1/path"},
        {"url": f"ftp://{USER}:{QUOTED}@127.0.0.1/path"},
        {"url": f"http://{USER}:{SECRET}@[::1/path"},
        {"url": f"http://{USER}:{QUOTED}@127.0.0.1:port/path"},
        {"url": f"http://{USER}:{QUOTED}@.example/path"},
        {"url": f"http://{USER}:{QUOTED}@/path"},
        {"url": f"http://{USER}:{QUOTED}@127.0.0.1:1/\n{SECRET}"[:40]},
        {"url": f"http://{USER}:{QUOTED}@127.0.0.1:1/".encode()},
        {"url": f"{AT_NOBODY}?token={SECRET}"},
        {"url": f"{AT_NOBODY}?token={QUOTED}#{SECRET}"},
        {"url": f"nothing?token={SECRET}"},
        {"url": Talkative()},
        {"url": Broken()},
        # all other keywords
        {"headers": {"Authorization": SECRET}},
        {"headers": {"X-Key": f"{SECRET}\r\nX-More: 1"}},
        {"headers": {"X-Key": Talkative()}},
        {"headers": {"X-Key": Broken()}},
        {"headers": SECRET},
        {"headers": [SECRET]},
        {"auth": (USER, SECRET)},
        {"auth": (USER, Talkative())},
        {"auth": SECRET},
        {"auth": raises(ValueError(SECRET))},
        {"auth": raises(OSError(SECRET))},
        {"auth": raises(OSError(2, SECRET, SECRET))},
        {"auth": raises(OSError(SECRET, SECRET))},
        {"cookies": {"session": SECRET}},
        {"cookies": {"session": Talkative()}},
        {"cookies": SECRET},
        {"params": {"token": SECRET}},
        {"params": SECRET},
        {"params": [SECRET]},
        {"params": [Talkative()]},
        {"data": {"password": SECRET}},
        {"data": [SECRET]},
        {"data": SECRET},
        {"data": Talkative()},
        {"json": {"password": SECRET}},
        {"json": {"password": Talkative()}},
        {"json": {SECRET: {1}}},
        {"files": {"file": SECRET}},
        {"files": SECRET},
        {"cert": f"/{SECRET}.pem", "url": "https://127.0.0.1:1/"},
        {"cert": ("/no.pem", f"/{SECRET}"), "url": "https://127.0.0.1:1/"},
        {"proxies": {"http": f"http://{USER}:{QUOTED}@127.0.0.1:1"}},
        {"proxies": {"http": f"http://{USER}:{SECRET}@127.0.0.1:1"}},
        {"proxies": {"http": f"socks5://{USER}:{QUOTED}@127.0.0.1:1"}},
        {"proxies": {"http": f"gopher://{USER}:{QUOTED}@127.0.0.1:1"}},
        {"proxies": {"http": f"http://{USER}:{QUOTED}@"}},
        {"proxies": {"https": f"http://{USER}:{QUOTED}@127.0.0.1:1"}, "url": "https://x/"},
        {"proxies": SECRET},
        {"hooks": {SECRET: print}},
        # what is shown has no room for more than it is
        {"timeout": Talkative()},
        {"timeout": (1, Talkative())},
        {"timeout": Broken()},
        {"timeout": 10**5000},
        {"method": Broken()},
        {"verify": Broken()},
        {"allow_redirects": Broken(), "headers": SECRET},
    ],
)
@pytest.mark.parametrize("policy", [False, True])
def test_no_error_and_no_log_line_holds_a_secret(caplog, settings, request_, policy):
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = policy
    caplog.set_level(logging.DEBUG)
    answer = fetching.fetch("jobs.steps:1", {"method": "GET", "url": AT_NOBODY, **request_})
    silent_about_it(caplog, answer)
    assert len(answer["proxied_error"]) < 1000


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pw@host.example:80/a/b?c#d", "http://host.example:80/a/b"),
        ("https://[2606:4700::1111]:443/", "https://[2606:4700::1111]:443/"),
        ("https://bücher.example/", "https://bücher.example/"),
        ("http://user:12/3@host/", "http://***"),
        ("http://host/?mail=a@b", "http://***"),
        ("nothing", "nothing"),
        ("user:pw@host", "***"),
        ("http://[::1", "***"),
        ("", ""),
        (None, ""),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert masking.url(url) == shown


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"url": "http://127.0.0.1:1/"}, "ConnectionError: Connection refused"),
        ({"url": "http://no.invalid/"}, "ConnectionError: the name cannot be resolved"),
        ({"url": "nothing"}, "'url': 'nothing'} failed: MissingSchema"),
        ({"url": "ftp://127.0.0.1/"}, "failed: InvalidSchema"),
        ({"url": "http://x", "headers": {"A": "b\nc"}}, "failed: InvalidHeader"),
        ({"url": "http://x", "auth": {"a": "b"}}, "failed: TypeError in prepare_auth"),
        ({"url": "http://x", "timeout": (1, 2, 3)}, "'timeout': (1, 2)"),
    ],
)
def test_an_error_still_says_what_is_wrong(request_, says):
    answer = fetching.fetch("jobs.steps:1", {"method": "GET", **request_})
    assert says in answer["proxied_error"]


def test_the_error_shows_what_is_no_secret_and_the_log_the_reason_alone(caplog):
    caplog.set_level(logging.INFO)
    url = f"http://{USER}:{QUOTED}@127.0.0.1:1/a/b?c=d"
    options = {"timeout": 3, "verify": False, "allow_redirects": False, "data": b"body"}
    answer = fetching.fetch("jobs.steps:1", {"method": "GET", "url": url, **options})
    shown = (
        "{'method': 'GET', 'timeout': 3, 'verify': False, 'allow_redirects': False, "
        "'url': 'http://127.0.0.1:1/a/b'}"
    )
    reason = "ConnectionError: Connection refused"
    assert answer["proxied_error"] == f"task jobs.steps:1 proxy request {shown} failed: {reason}"
    assert caplog.messages == [f"jobs.steps:1: proxy request failed: {reason}"]


@pytest.fixture
def soft_limit():
    """Celery's own way: a signal's handler raises in whatever runs."""

    def over(*_):
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, over)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.3)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_and_while_the_name_is_looked_up(soft_limit, settings, monkeypatch):
    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = True
    request = {"method": "GET", "url": "http://site.example/"}
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(5))
        soft_limit()
        with pytest.raises(SoftTimeLimitExceeded):
            fetching.fetch("jobs.steps:1", request)
