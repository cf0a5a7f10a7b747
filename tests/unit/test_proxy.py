"""Requests that cannot be made: a proxied_error that names what is wrong."""

import subprocess
import sys

import pytest

from simpletask2_celery.running.proxy import fetching
from simpletask2_celery.running.proxy.policy import Policy
from tests.support.fixtures import ROOT


def get(url, **more):
    return fetching.fetch("jobs.steps:1", {"method": "GET", "url": url, **more})


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ("GET http://…", "must be a dict, not str"),
        (["GET"], "must be a dict, not list"),
        (7, "must be a dict, not int"),
        ({"url": "http://127.0.0.1"}, "needs method"),
        ({"method": "GET"}, "needs url"),
        ({}, "needs method and url"),
        ({"method": "GET", "url": "http://x", "timout": 3}, "did you mean 'timeout'"),
        ({"method": "GET", "url": "http://x", 5: 3}, "no keyword 5"),
        ({"method": "GET", "url": "nothing"}, "nothing"),
        ({"method": "GET", "url": None}, "failed"),
        ({"method": "GET", "url": "http://127.0.0.1:1/"}, "http://127.0.0.1:1/"),
        ({"method": "GET", "url": "http://127.0.0.1:1", "timeout": "x"}, "failed"),
        ({"method": "GET", "url": "http://[::1"}, "failed"),
        ({"method": "GET", "url": "ftp://127.0.0.1/"}, "failed"),
        ({"method": 3, "url": "http://127.0.0.1:1/"}, "failed"),
    ],
)
def test_a_bad_request_is_a_proxied_error(request_, says):
    answer = fetching.fetch("jobs.steps:1", request_)
    assert says in answer["proxied_error"]
    assert "jobs.steps:1" in answer["proxied_error"]
    assert answer["proxied_content"] is answer["proxied_status"] is None


def test_no_secret_is_shown():
    answer = get(
        "http://user:pass-word@127.0.0.1:1/path?token=query-secret",
        headers={"Authorization": "header-secret"},
        auth=("u", "auth-secret"),
        params={"p": "params-secret"},
    )
    text = answer["proxied_error"]
    assert "127.0.0.1:1/path" in text
    for secret in ("pass-word", "query-secret", "header-secret", "auth-secret"):
        assert secret not in text
    assert "params-secret" not in text


def test_a_policy_may_be_given_in_the_place_of_the_settings():
    request = {"method": "GET", "url": "http://127.0.0.1:1/"}
    answer = fetching.fetch("jobs.steps:1", request, Policy(schemes=("https",)))
    assert "PROXY_ALLOWED_SCHEMES has no 'http'" in answer["proxied_error"]
    assert "Connection refused" in fetching.fetch("jobs.steps:1", request)["proxied_error"]


WITHOUT_DJANGO = """
import sys
sys.modules["django"] = None
from simpletask2_celery.running.proxy import fetching, policy
request = {"method": "GET", "url": "http://127.0.0.1:1/"}
for rules in (policy.Policy(), policy.Policy(hosts=(".example.org",))):
    print(fetching.fetch("jobs.steps:1", request, rules)["proxied_error"])
"""


def test_a_process_without_django_makes_requests():
    command = [sys.executable, "-c", WITHOUT_DJANGO]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    first, second = done.stdout.splitlines()
    assert "Connection refused" in first and "ALLOWED_HOSTS has no '127.0.0.1'" in second
