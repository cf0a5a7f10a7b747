"""Proxy steps against a real HTTP server: compatibility facts, section 4."""

import base64
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from simpletask2_celery.running import executor
from simpletask2_celery.running.proxy import fetching, policy
from tests.support.project.jobs.models import Steps

MANY = 256  # connections to a host that are kept


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = []

    def do_GET(self):
        Site.seen.append((self.path, dict(self.headers)))
        status = 404 if self.path == "/missing" else 200
        size = 50_000_000 if self.path == "/huge" else 100
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.send_header("Set-Cookie", "session=of-another-task")
        self.send_header("X-Answer", "42")
        self.end_headers()
        try:
            for _ in range(size // 100):
                self.wfile.write(b"x" * 100)
        except OSError:
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        fetching._sessions[policy.current()].close()
        fetching._sessions.clear()


def get(url, **more):
    return fetching.fetch("jobs.steps:1", {"method": "GET", "url": url, **more})


def test_the_next_step_gets_the_body_the_status_and_the_headers(site):
    answer = get(f"{site}/page")
    assert answer["proxied_content"] == base64.encodebytes(b"x" * 100).decode()
    assert (answer["proxied_error"], answer["proxied_status"]) == (None, 200)
    assert answer["proxied_headers"]["X-Answer"] == "42"


def test_any_status_is_content(site):
    answer = get(f"{site}/missing")
    assert (answer["proxied_error"], answer["proxied_status"]) == (None, 404)


def test_cookies_of_one_task_do_not_reach_another(site):
    get(f"{site}/one")
    get(f"{site}/two")
    assert "Cookie" not in Site.seen[-1][1]


def test_a_body_over_the_limit_is_an_error_and_memory_stays_bounded(site, settings):
    settings.DJANGO_SIMPLETASK2_PROXY_MAX_SIZE = 100_000
    tracemalloc.start()
    answer = get(f"{site}/huge")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "over 100000 bytes" in answer["proxied_error"]
    assert answer["proxied_content"] is None
    assert peak < 5_000_000


def test_a_run_with_proxy_steps(using, site):
    row = Steps.objects.using(using).create(what="proxied", url=f"{site}/page")
    executor.run(Steps, using, row.pk)
    row.refresh_from_db()
    assert (row.note, row.success) == ("1|None;2|200;3|None;4|None;", True)


@pytest.mark.parametrize("answer", [object(), {"proxy": 3}, {1, 2}, b"\xff", "text"])
def test_whatever_a_step_returns_does_not_fail_it(using, monkeypatch, answer):
    from tests.support.project.jobs import handlers

    monkeypatch.setattr(handlers, "told", lambda *_: answer, raising=False)
    row = Steps.objects.using(using).create(what="told")
    assert executor.run(Steps, using, row.pk)["data"] is answer
    row.refresh_from_db()
    assert row.success is True


def test_connections_are_kept_for_as_many_requests_as_run_at_a_time():
    together = threading.Barrier(MANY)
    opened = []

    class Keeping(Site):
        def setup(self):
            opened.append(1)
            super().setup()

        def do_GET(self):
            together.wait(20)
            super().do_GET()

    with ThreadingHTTPServer(("127.0.0.1", 0), Keeping) as server:
        server.request_queue_size = MANY
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for _ in range(2):
            threads = [threading.Thread(target=get, args=[url]) for _ in range(MANY)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        fetching._sessions[policy.current()].close()
        fetching._sessions.clear()
        server.shutdown()
    assert len(opened) == MANY


@pytest.mark.parametrize("pair", [("user", "pw"), ["user", "pw"]])
def test_a_pair_may_be_a_list_as_json_has_it(site, pair):
    request = {"method": "GET", "url": site, "auth": pair, "timeout": [5, 5]}
    assert fetching.fetch("jobs.steps:1", request)["proxied_error"] is None
    assert Site.seen[-1][1]["Authorization"] == "Basic dXNlcjpwdw=="
