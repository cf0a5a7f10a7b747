"""The HTTP API: who drives the steps himself, and whoever sends rubbish."""

import json
import logging
import threading

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils import timezone

from simpletask2_celery import conf
from simpletask2_celery.rows import claiming
from tests.support.fixtures import redis
from tests.support.http_api import KEY, NAMES, send, url
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import (
    ChannelJob,
    ChildJob,
    Job,
    Ledger,
    Steps,
    UuidJob,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    """get_a_task waits for a row, a whole second in this project."""
    monkeypatch.setattr(conf.Conf, "task_pull_timeout", 0.0)


def call(name, **payload):
    return send(name, json.dumps({"aclkey": KEY, **payload}))


def code(name, **payload):
    return call(name, **payload)["error"]["code"]


# -- do_task -------------------------------------------------------------------------


def test_one_step():
    row = Job.objects.create(what="write_ledger")
    assert call("do_task", task_info=row.get_task_info(), step=1) == {
        "success": True,
        "result": {
            "continue_flag": False,
            "task_info": row.get_task_info(),
            "next_step": 2,
            "data": None,
        },
        "error": {"code": 0, "message": "OK"},
    }
    row.refresh_from_db()
    assert (row.status, row.success) == (row.DONE, True)


def test_a_step_posted_twice_or_out_of_order_runs_once():
    row = Steps.objects.create(what="write_ledger")
    name = row.get_task_info()
    answers = [code("do_task", task_info=name, step=n) for n in (2, 1, 1, 3, 2, 2, 3, 4, 4)]
    assert answers == [2910014, 0, 2910013, 2910014, 0, 2910013, 0, 0, 2910015]
    assert Ledger.objects.count() == 4


def test_what_a_proxy_request_brought_reaches_the_next_step(monkeypatch):
    seen = []
    monkeypatch.setattr(
        handlers, "nothing", lambda row, payload: seen.append(payload), raising=True
    )
    row = Steps.objects.create()
    name = row.get_task_info()
    call("do_task", task_info=name, step=1)
    call("do_task", task_info=name, step=2, proxied_content="YQ==\n", proxied_error=None)
    assert seen == [
        {"task_info": name, "step": 1},
        {
            "task_info": name,
            "step": 2,
            "proxied_content": "YQ==\n",
            "proxied_error": None,
        },
    ]


def test_a_failed_handler_is_answered_and_logged(caplog):
    row = Job.objects.create(what="fail")
    answer = call("do_task", task_info=row.get_task_info())
    assert answer["error"]["code"] == 2910009
    assert "ValueError: as told" in answer["error"]["message"]
    [record] = [r for r in caplog.records if r.name == "simpletask2_celery.legacy.views"]
    assert record.levelno == logging.ERROR and record.exc_info
    row.refresh_from_db()
    assert (row.status, row.success) == (row.DONE, False)


def test_whatever_a_handler_returns_is_answered(monkeypatch):
    class Odd:
        def __repr__(self):
            raise ValueError

    deep = []
    deep.append(deep)
    for value in (Odd(), deep, b"bytes", {1, 2}, timezone.now(), {"a": "\ud800"}, 1e999):
        monkeypatch.setattr(handlers, "nothing", lambda r, p, v=value: v)
        row = Job.objects.create()
        assert call("do_task", task_info=row.get_task_info())["success"], value


# -- rubbish ---------------------------------------------------------------------------

DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", 2910001),
        ("{", 2910001),
        ("[]", 2910001),
        ("3", 2910001),
        ("null", 2910001),
        (b"\xff\xfe{", 2910001),
        (DEEP, 2910001),
        ('{"a": %s}' % ("9" * 5000), 2910001),
        ("{}", 2910002),
        ('{"aclkey": ""}', 2910002),
        ('{"aclkey": null}', 2910002),
        ('{"aclkey": "wrong"}', 2910003),
        ('{"aclkey": 5}', 2910003),
        ('{"aclkey": ["the key of the tests"]}', 2910003),
        ('{"aclkey": "\\ud800"}', 2910003),
        ('{"aclkey": "\\u0000"}', 2910003),
    ],
)
def test_a_body_or_key_that_is_refused(name, body, expected):
    assert send(name, body)["error"]["code"] == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["get", "head", "put", "delete", "options", "patch"])
def test_only_post_is_heard(name, method):
    answer = getattr(Client(), method)(url(name))
    assert answer.status_code == 200
    if method != "head":
        assert answer.json()["error"]["code"] == 2910001


def test_a_body_over_djangos_limit(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    body = json.dumps({"aclkey": KEY, "more": "x" * 2000})
    assert send("do_auto_reset", body)["error"]["code"] == 2910001


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({}, 2910011),
        ({"task_info": ""}, 2910011),
        ({"task_info": None}, 2910011),
        ({"task_info": 5}, 2910005),
        ({"task_info": ["jobs.job:1"]}, 2910005),
        ({"task_info": "jobs.job"}, 2910005),
        ({"task_info": "jobs:1"}, 2910005),
        ({"task_info": "jobs.job:"}, 2910005),
        ({"task_info": "jobs.job:x"}, 2910005),
        ({"task_info": "jobs.job:1.5"}, 2910005),
        ({"task_info": "jobs.job:1\0"}, 2910005),
        ({"task_info": "jobs.job:\ud800"}, 2910005),
        ({"task_info": "jobs.job:" + "9" * 30}, 2910005),
        ({"task_info": "jobs.uuidjob:7"}, 2910005),
        ({"task_info": "jobs.childjob:" + "9" * 30}, 2910005),
        ({"task_info": "jobs.pairjob:[1, " + "9" * 30 + "]"}, 2910005),
        ({"task_info": 'jobs.pairjob:[1, "\\ud800"]'}, 2910005),
        ({"task_info": "jobs.pairjob:" + "[" * 100_000}, 2910005),
        ({"task_info": "jobs.codejob:a\0b"}, 2910005),
        ({"task_info": "jobs.job:0"}, 2910004),
        ({"task_info": "jobs.nothing:1"}, 2910006),
        ({"task_info": "nowhere.job:1"}, 2910006),
        ({"task_info": "auth.user:1"}, 2910006),
        ({"task_info": "jobs.ledger:1"}, 2910006),
        ({"step": 2}, 2910007),
        ({"step": 0}, 2910007),
        ({"step": -1}, 2910007),
        ({"step": 10**40}, 2910007),
        ({"step": "1"}, 2910007),
        ({"step": 1.0}, 2910007),
        ({"step": True}, 2910007),
        ({"step": None}, 2910007),
        ({"step": [1]}, 2910007),
        ({"proxied_content": 5}, 2910001),
        ({"proxied_error": {"a": 1}}, 2910001),
    ],
)
def test_a_field_that_is_refused_changes_nothing(payload, expected):
    User.objects.create(username="a")
    row = Job.objects.create(what="write_ledger")
    before = list(Job.objects.values())
    named = {"task_info": row.get_task_info()} if payload and len(payload) else {}
    assert code("do_task", **{**named, **payload}) == expected
    assert list(Job.objects.values()) == before
    assert not Ledger.objects.exists()


@pytest.mark.parametrize("channels", [5, None, ["default"], {"a": 1}, True])
def test_channels_that_are_no_text(channels):
    answer = call("get_a_task", channels=channels)
    assert answer["error"]["code"] == 2910001
    assert "`channels` must be a string." in answer["error"]["message"]


def test_a_database_that_fails_is_a_system_error(monkeypatch, caplog):
    from django.db import OperationalError

    def fail(*args):
        raise OperationalError(f"with a secret {KEY}")

    monkeypatch.setattr(claiming, "unreserved", fail)
    answer = call("get_a_task")
    assert answer["error"] == {"code": 2910000, "message": "system error."}


def test_the_key_is_in_no_log_line_and_in_no_payload(caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    seen = []
    monkeypatch.setattr(handlers, "nothing", lambda row, payload: seen.append(payload))
    row = Job.objects.create()
    call("do_task", task_info=row.get_task_info())
    call("do_task")
    call("do_task", task_info="x")
    call("get_a_task", channels="none")
    call("do_auto_reset")
    send("do_task", '{"aclkey": "not the key"}')
    assert KEY not in caplog.text and "not the key" not in caplog.text
    [wrong] = [one for one in caplog.records if getattr(one, "code", None) == 2910003]
    assert wrong.levelname == "WARNING"
    assert seen and "aclkey" not in seen[0]


# -- get_a_task ------------------------------------------------------------------------


def test_a_row_is_handed_out_once_until_its_reservation_is_over(monkeypatch):
    row = Job.objects.create()
    assert call("get_a_task")["result"] == row.get_task_info()
    answer = call("get_a_task", channels="default,mail")
    assert answer["error"]["code"] == 2910012
    assert "default,mail" in answer["error"]["message"]
    monkeypatch.setattr(claiming, "RESERVED", 0.0)
    assert call("get_a_task")["result"] == row.get_task_info()
    assert code("do_task", task_info=row.get_task_info()) == 0
    assert code("get_a_task") == 2910012


def test_rows_of_each_channel():
    mail = ChannelJob.objects.create(topic="mail")
    row = ChannelJob.objects.create(topic="")
    assert call("get_a_task", channels="mail")["result"] == mail.get_task_info()
    assert code("get_a_task", channels="mail") == 2910012
    assert call("get_a_task")["result"] == row.get_task_info()
    for odd in ("", ",", "a\0b", "\ud800", "x" * 10_000):
        assert code("get_a_task", channels=odd) == 2910012


def test_a_channel_that_is_no_column(monkeypatch):
    monkeypatch.setattr(Job, "channel_field", "channel", raising=False)
    monkeypatch.setattr(Job, "channel", property(lambda self: self.note), raising=False)
    Job.objects.bulk_create([Job(note="other") for _ in range(60)])
    row = Job.objects.create(note="mail")
    assert call("get_a_task", channels="mail")["result"] == row.get_task_info()


def test_a_row_is_not_handed_out_before_its_time():
    row = Job.objects.create()
    row.publish(countdown=3600)
    assert code("get_a_task") == 2910012
    later = UuidJob.objects.create()
    assert call("get_a_task")["result"] == later.get_task_info()


def test_a_row_of_an_heir_is_handed_out_under_the_heirs_name():
    row = ChildJob.objects.create()
    assert call("get_a_task")["result"] == row.get_task_info() == f"jobs.childjob:{row.pk}"
    assert code("get_a_task") == 2910012


def test_it_waits_for_a_row(monkeypatch):
    monkeypatch.setattr(conf.Conf, "task_pull_timeout", 10.0)

    def create():
        Job.objects.create()
        connections.close_all()

    timer = threading.Timer(0.3, create)
    timer.start()
    assert call("get_a_task")["success"]
    timer.join()


def test_of_six_callers_each_row_goes_to_one():
    Job.objects.bulk_create([Job() for _ in range(30)])
    answers, start = [], threading.Barrier(6)

    def take():
        start.wait()
        while (answer := call("get_a_task"))["success"]:
            answers.append(answer["result"])
        connections.close_all()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(set(answers)) == 30


def test_entries_of_the_old_lists_come_first_and_leave_them(settings):
    settings.DJANGO_SIMPLETASK2_LEGACY_CHANNELS = ["default"]
    first, second = Job.objects.create(), Job.objects.create()
    done = Job.objects.create(status=Job.DONE)
    key = settings.DJANGO_SIMPLETASK2_CHANNEL_NAME_TEMPLATE.format(channel="default")
    flags = settings.DJANGO_SIMPLETASK2_CHANNEL_FLAGS_TEMPLATE.format(channel="default")
    entries = [done.get_task_info(), "rubbish", second.get_task_info()]
    redis().rpush(key, *entries)
    redis().sadd(flags, *entries)
    assert call("get_a_task")["result"] == second.get_task_info()
    assert call("get_a_task")["result"] == first.get_task_info()
    assert redis().llen(key) == redis().scard(flags) == 0
    assert redis().lrange(f"simpletask2-celery:malformed:{key}", 0, -1) == [b"rubbish"]


def test_without_redis_rows_come_from_the_database(settings, monkeypatch):
    settings.DJANGO_SIMPLETASK2_PUBLISH_TO = "both"
    [row] = Job.objects.bulk_create([Job()])
    monkeypatch.setitem(settings.CACHES["default"], "LOCATION", "redis://127.0.0.1:1/0")
    monkeypatch.setattr("simpletask2_celery.publishing.to_lists.client", lambda: 1 / 0)
    assert call("get_a_task")["result"] == f"jobs.job:{Job.objects.get().pk}"


# -- do_auto_reset -----------------------------------------------------------------------


def test_auto_reset_says_how_many():
    Job.objects.bulk_create([Job() for _ in range(3)])
    result = call("do_auto_reset")["result"]
    assert result["jobs.job"] == 3 and result["jobs.steps"] == 0


def test_views_are_not_atomic(settings):
    from simpletask2_celery.legacy import views

    for name in NAMES:
        assert getattr(views, name)._non_atomic_requests == set(connections)
