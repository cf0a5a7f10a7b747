"""The egress machine: its settings, and what it may narrow and never widen."""

import os
import subprocess
import sys
from math import inf

import pytest
from celery.exceptions import Reject

from simpletask2_celery import egress
from simpletask2_celery.running.proxy import fetching
from simpletask2_celery.running.proxy.policy import Policy, Refused
from tests.support.egress import MACHINE
from tests.support.fixtures import ROOT

URL = "redis://127.0.0.1:1/0"


def settings(**environment):
    """Ask an egress machine for its settings; return how that ended."""
    code = "from simpletask2_celery.egress import app, own_policy; app.conf.broker_url; "
    code += "print(own_policy(), app.conf.task_default_queue)"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(MACHINE), "EGRESS_PORTS": "1"}
    env |= {f"SIMPLETASK2_{name}": value for name, value in environment.items()}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_the_settings_come_from_the_environment():
    done = settings(
        BROKER_URL=URL,
        EGRESS_QUEUE="out",
        PROXY_ALLOWED_SCHEMES="https",
        PROXY_ALLOWED_HOSTS="a.example, .b.example",
        PROXY_REFUSE_PRIVATE="yes",
        PROXY_TIMEOUT="2.5",
        PROXY_MAX_SIZE="1000",
    )
    wanted = Policy(("https",), ("a.example", ".b.example"), True, 2.5, 1000, "SIMPLETASK2_PROXY")
    assert done.stdout.strip() == f"{wanted} out", done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BROKER_URL", ""),
        ("BROKER_URL", "nonsense://s3cret@host"),
        ("BROKER_TRANSPORT_OPTIONS", "[1]"),
        ("BROKER_TRANSPORT_OPTIONS", "{"),
        ("PROXY_ALLOWED_SCHEMES", "ftp"),
        ("PROXY_REFUSE_PRIVATE", "perhaps"),
        ("PROXY_TIMEOUT", "0"),
        ("PROXY_TIMEOUT", "soon"),
        ("PROXY_MAX_SIZE", "-1"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_a_line(name, value):
    done = settings(**{"BROKER_URL": URL, name: value})
    assert done.returncode == 1
    [line] = done.stderr.strip().splitlines()
    assert f"SIMPLETASK2_{name} " in line and "s3cret" not in line


def test_each_variable_is_on_the_page():
    page = (ROOT / "docs/operate/egress.md").read_text()
    names = {"BROKER_URL", "BROKER_TRANSPORT_OPTIONS", "EGRESS_QUEUE", "PROXY_TIMEOUT"}
    names |= {"PROXY_ALLOWED_SCHEMES", "PROXY_ALLOWED_HOSTS", "PROXY_REFUSE_PRIVATE"}
    for name in names | {"PROXY_MAX_SIZE"}:
        assert f"| `SIMPLETASK2_{name}` |" in page


def test_a_policy_travels_as_json():
    policy = Policy(("https",), (".a",), True, 3, 10)
    told = {**policy.as_json(), "schemes": ["https"], "hosts": [".a"]}
    assert Policy.of_json(told) == policy


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {**Policy().as_json(), "schemes": [], "hosts": [], "more": 1},
        {**Policy().as_json(), "schemes": "https", "hosts": []},
        {**Policy().as_json(), "schemes": [1], "hosts": []},
        {**Policy().as_json(), "schemes": [], "hosts": [], "refuse_private": 0},
        {**Policy().as_json(), "schemes": [], "hosts": [], "timeout": "1"},
    ],
)
def test_what_is_no_policy_allows_nothing(value):
    with pytest.raises(Refused):
        Policy.of_json(value)


def test_both_policies_have_to_allow():
    project = Policy(("https",), (".a", ".c"), False, 30, 1000)
    machine = Policy((), (".b", ".c"), True, inf, 10, "SIMPLETASK2_PROXY")
    both = project.tightened(machine)
    assert (both.refuse_private, both.timeout, both.max_size) == (True, 30, 10)
    both.require("https", "x.c")
    for scheme, host, setting in [
        ("http", "x.c", "DJANGO_SIMPLETASK2_PROXY_ALLOWED_SCHEMES"),
        ("https", "x.b", "DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS"),
        ("https", "x.a", "SIMPLETASK2_PROXY_ALLOWED_HOSTS"),
    ]:
        with pytest.raises(Refused) as refused:
            both.require(scheme, host)
        assert str(refused.value).startswith(setting)


def test_no_request_takes_longer_than_the_machine_allows(site):
    url = f"http://127.0.0.1:{site.server_port}/?wait=1"
    policy = Policy().tightened(Policy(timeout=0.2))
    for timeout in (None, 5, [5, 5], [None, None]):
        answer = fetching.fetch("a", {"method": "GET", "url": url, "timeout": timeout}, policy)
        assert "ReadTimeout" in answer["proxied_error"]


def test_a_message_without_a_reply_is_refused(caplog, monkeypatch):
    monkeypatch.setenv("SIMPLETASK2_BROKER_URL", URL)
    for reply in (None, {}, {"kwargs": {}}, {"kwargs": {}, "queue": "a", "exchange": 1}):
        assert egress.fetch("a.b:1", {}, {}, reply) == "refused"
    assert "does not say where the answer goes" in caplog.text


def test_an_answer_that_cannot_be_sent_has_its_request_come_again(monkeypatch):
    monkeypatch.setenv("SIMPLETASK2_BROKER_URL", URL)
    monkeypatch.setattr(egress, "PATIENCE", 0.3)
    tried = []
    send = egress._send
    monkeypatch.setattr(egress, "_send", lambda *all: tried.append(all) or send(*all))
    reply = {**dict.fromkeys(("queue", "exchange", "routing_key"), "a"), "kwargs": {}}
    answer = dict.fromkeys(("proxied_content", "proxied_headers"))
    with pytest.raises(Reject) as rejected:
        egress._deliver("a.b:1", {}, reply, answer, 1.0)
    assert rejected.value.requeue and len(tried) > 1


def test_a_size_that_the_broker_has_refused_is_not_tried_for_a_while():
    limit = egress._Limit()
    assert not limit.is_over(10**9)
    limit.remember(2000)
    limit.remember(1000)
    limit.remember(3000)
    assert limit.is_over(1000) and not limit.is_over(999)
    limit._until = 0.0
    assert not limit.is_over(10**9)


def test_an_option_of_the_reply_that_nobody_knows_is_refused():
    reply = dict.fromkeys(("queue", "exchange", "routing_key"), "a")
    assert egress._is_reply({**reply, "kwargs": {}, "options": {"shadow": "a"}})
    assert not egress._is_reply({**reply, "kwargs": {}, "options": {"link": {}}})
