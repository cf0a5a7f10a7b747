"""What errors and logs say of a proxy request: nothing that is a secret."""

import base64
import logging
import signal
import socket
import threading
from urllib.parse import quote

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.running import executor
from simpletask2_celery.running.proxy import fetching
from tests.support.clock import clock
from tests.support.project.jobs.models import Steps

pytestmark = pytest.mark.usefixtures("no_kept_connections")
SECRET = "s3cr:t/ö"
USER = "the-user"
BASIC = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
FORMS = (SECRET, quote(SECRET), quote(SECRET, safe=""), BASIC, "s3cr", USER, "%C3%B6")
QUOTED = quote(SECRET, safe="")


def silent_about_it(caplog, answer):
    assert answer["proxied_error"], "the request was to fail"
    for text in (answer["proxied_error"], caplog.text):
        for form in FORMS:
            assert form not in text, text


@pytest.mark.parametrize(
    "to",
    [
        f"http://{USER}:{QUOTED}@127.0.0.1:1/",
        f"http://127.0.0.1:1/?token={QUOTED}",
        f"ftp://{USER}:{QUOTED}@127.0.0.1/",
        f"http://{USER}:{QUOTED}@127.0.0.1:port/",
    ],
)
def test_nor_one_that_a_redirect_brings(caplog, site, to):
    caplog.set_level(logging.DEBUG)
    site_url = f"http://127.0.0.1:{site.server_port}/"
    answer = fetching.fetch(
        "jobs.steps:1", {"method": "GET", "url": site_url, "params": {"to": to}}
    )
    assert len(site.seen) == 1
    silent_about_it(caplog, answer)


def test_nor_do_the_log_lines_of_urllib3_about_what_went_well(caplog, site):
    caplog.set_level(logging.DEBUG)
    url = f"http://127.0.0.1:{site.server_port}/page?token={QUOTED}"
    assert fetching.fetch("jobs.steps:1", {"method": "GET", "url": url})["proxied_content"]
    lines = [r.getMessage() for r in caplog.records if r.name == "urllib3.connectionpool"]
    assert lines and all("***" in line for line in lines)
    assert "127.0.0.1" not in caplog.text and "/page" not in caplog.text
    assert not [form for form in FORMS if form in caplog.text]


def test_nor_about_headers_that_it_cannot_parse(caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(f"HTTP/1.1 200 OK\r\nA: b\r\n/{USER}\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/page?token={QUOTED}"
        fetching.fetch("jobs.steps:1", {"method": "GET", "url": url})
        thread.join()
    assert "Failed to parse headers" in caplog.text
    assert not [form for form in FORMS if form in caplog.text]


def test_the_log_lines_of_others_stay_as_they_are(caplog, site):
    import requests

    caplog.set_level(logging.DEBUG)
    requests.get(f"http://127.0.0.1:{site.server_port}/page?token=of-others", timeout=5)
    assert "/page?token=of-others" in caplog.text


def test_a_server_without_tls_is_told_from_a_bad_certificate(site):
    url = f"https://127.0.0.1:{site.server_port}/"
    answer = fetching.fetch("jobs.steps:1", {"method": "GET", "url": url})
    assert "failed: SSLError: " in answer["proxied_error"]


# -- a time limit is about the task, not about the request -------------------------------


@pytest.fixture
def soft_limit():
    """Celery's own way: a signal's handler raises in whatever runs."""

    def over(*_):
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, over)
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0.3)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("policy", [False, True])
def test_a_soft_time_limit_ends_the_request(silent, soft_limit, settings, policy, monkeypatch):
    from simpletask2_celery.running.proxy import policy as proxy_policy

    settings.DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = policy
    monkeypatch.setattr(proxy_policy, "is_public", lambda address: True)
    began = clock()
    soft_limit()
    with pytest.raises(SoftTimeLimitExceeded):
        fetching.fetch("jobs.steps:1", {"method": "GET", "url": f"http://127.0.0.1:{silent}/"})
    assert clock() - began < 5


def test_a_run_whose_limit_ends_in_the_request_fails(using, silent, soft_limit):
    row = Steps.objects.using(using).create(what="proxied", url=f"http://127.0.0.1:{silent}/")
    soft_limit()
    with pytest.raises(DjangoSimpleTask2Error, match="2910009.*SoftTimeLimitExceeded"):
        executor.run(Steps, using, row.pk)
    row.refresh_from_db()
    assert (row.status, row.success) == (row.DONE, False)
