"""Redirects and kept connections of proxy steps: what is read, taken along, tried again."""

import base64
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from simpletask2_celery.running.proxy import fetching, policy

MEGABYTE = b"x" * 1_000_000


class Site(BaseHTTPRequestHandler):
    """``?to=`` redirects with a body of 50 MB, ``?close=`` closes at the second request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)
        self.server.seen.append((self.command, self.path, dict(self.headers)))
        if "close" in query and len(self.server.seen) == 2:
            self.close_connection = True
            self.connection.close()
            return
        to = query.get("to")
        body = MEGABYTE * 50 if to and "huge" in query else b"moved" if to else b"hello"
        self.send_response(int(query.get("status", [302])[0]) if to else 200)
        if to:
            self.send_header("Location", to[0])
            self.send_header("Set-Cookie", "of=the-first-site")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        self.do_GET()

    do_PUT = do_POST

    def log_message(self, *args):
        pass


@pytest.fixture
def sites():
    """Two servers, of two origins; each keeps what it has seen."""
    made = []
    for address in ("127.0.0.1", "127.0.0.2"):
        server = ThreadingHTTPServer((address, 0), Site)
        server.daemon_threads, server.seen, server.bodies = True, [], []
        server.url = f"http://{address}:{server.server_port}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.append(server)
    yield made
    for server in made:
        server.shutdown()
        server.server_close()
    for session in fetching._sessions.values():
        session.close()
    fetching._sessions.clear()


def ask(url, method="GET", **more):
    return fetching.fetch("jobs.steps:1", {"method": method, "url": url, **more})


def text_of(answer):
    assert answer["proxied_error"] is None, answer
    return base64.decodebytes(answer["proxied_content"].encode()).decode()


def test_the_body_of_a_redirect_is_not_read(sites):
    first, second = sites
    ask(second.url)  # what is imported and kept is not counted
    tracemalloc.start()
    try:
        answer = ask(f"{first.url}?huge=1&to={second.url}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert text_of(answer) == "hello"
    assert peak < 55_000_000  # the server's own 50 MB, and none of ours


def test_a_handler_that_wants_the_redirect_itself_gets_its_answer(sites):
    first, second = sites
    answer = ask(f"{first.url}?to={second.url}", allow_redirects=False)
    assert (text_of(answer), answer["proxied_status"]) == ("moved", 302)
    assert second.seen == []
    huge = ask(f"{first.url}?huge=1&to={second.url}", allow_redirects=False)
    assert "over 10485760 bytes" in huge["proxied_error"]


@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_cookie_or_a_password_does_not_go_to_another_origin(sites, status):
    first, second = sites
    secret = {"cookies": {"session": "s3cret"}, "headers": {"Authorization": "s3cret"}}
    ask(f"{first.url}?status={status}&to={second.url}?to={first.url}", **secret)
    assert "s3cret" in str(first.seen[0])
    for _, _, headers in (*second.seen, *first.seen[1:]):
        assert "s3cret" not in str(headers) and "Cookie" not in headers


@pytest.mark.parametrize(("status", "bodies"), [(302, []), (307, [b"body"]), (308, [b"body"])])
def test_a_header_of_ones_own_goes_wherever_a_redirect_leads_and_a_body_may(sites, status, bodies):
    first, second = sites
    url = f"{first.url}?status={status}&to={second.url}"
    more = {"headers": {"X-Api-Key": "s3cret"}, "data": b"body"}
    assert text_of(ask(url, "POST", **more)) == "hello"
    [(_, _, headers)] = second.seen
    assert headers["X-Api-Key"] == "s3cret"
    assert (first.bodies, second.bodies) == ([b"body"], bodies)
    ask(url, "POST", allow_redirects=False, **more)
    assert len(second.seen) == 1


def test_a_cookie_goes_along_within_an_origin(sites):
    first, _ = sites
    ask(f"{first.url}?to=/end", cookies={"session": "s3cret"})
    assert "s3cret" in first.seen[1][2]["Cookie"]


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_connection_that_was_closed_is_no_error_of_an_idempotent_request(sites, method):
    first, _ = sites
    body = {"data": b"body"} if method == "PUT" else {}
    for _ in range(2):
        assert text_of(ask(f"{first.url}?close=1", method, **body)) == "hello"
    assert len(first.seen) == 3


def test_a_request_that_may_do_harm_is_not_sent_twice(sites):
    first, _ = sites
    ask(f"{first.url}?close=1", "POST", data=b"body")
    assert ask(f"{first.url}?close=1", "POST", data=b"body")["proxied_error"]
    assert len(first.seen) == 2


def test_a_scheme_that_is_not_allowed_is_refused_through_a_proxy_server_too(settings):
    settings.DJANGO_SIMPLETASK2_PROXY_ALLOWED_SCHEMES = ["https"]
    answer = ask("http://example.com/", proxies={"http": "https://127.0.0.1:1"})
    assert "PROXY_ALLOWED_SCHEMES has no 'http'" in answer["proxied_error"]


@pytest.mark.parametrize("address", ["3fff::1", "3fff:fff::1", "192.88.99.1"])
def test_addresses_of_documents_and_dead_relays_are_not_public(address):
    assert not policy.is_public(address)
