"""What docs/operate/security.md says that the owner of the aclkey can and cannot do."""

import json

import pytest

from simpletask2_celery import conf, tasks
from simpletask2_celery.legacy import views
from tests.support import ALIASES
from tests.support.fixtures import message_of
from tests.support.http_api import KEY, send
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import Job, Steps
from tests.support.rows import DOING, DONE, ago

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


@pytest.fixture(autouse=True)
def no_wait(monkeypatch):
    """get_a_task waits for a row, a whole second in this project."""
    monkeypatch.setattr(conf.Conf, "task_pull_timeout", 0.0)


def call(name, key=KEY, **payload):
    return send(name, json.dumps({"aclkey": key, **payload}))


def code(name, key=KEY, **payload):
    return call(name, key, **payload)["error"]["code"]


# -- can ---------------------------------------------------------------------------------


def test_a_row_is_kept_from_other_callers_for_ten_seconds():
    row = Job.objects.create()
    assert call("get_a_task")["result"] == row.get_task_info()
    Job.objects.update(start_time=ago(9))
    assert code("get_a_task") == 2910012
    Job.objects.update(start_time=ago(10.1))
    assert call("get_a_task")["result"] == row.get_task_info()
    assert code("get_a_task") == 2910012  # for ten seconds more


def test_a_row_that_is_kept_so_is_not_kept_from_a_worker():
    row = Job.objects.create()
    assert call("get_a_task")["result"] == row.get_task_info()
    assert tasks.do_task(**message_of(row))["success"] is True


def test_the_next_step_of_a_row_runs_that_a_worker_drives(handler):
    """A worker is in step 1; whoever has the key runs step 2 beside it."""
    ran = []

    def told(row, payload):
        ran.append(payload["step"])
        if payload["step"] == 1 and not ran.count(2):
            assert Steps.objects.get(pk=row.pk).status == DOING
            name = row.get_task_info()
            assert [code("do_task", task_info=name, step=n) for n in (1, 3)] == [2910013, 2910014]
            assert code("do_task", task_info=name, step=2) == 0

    row = Steps.objects.create(what=handler(told))
    tasks.do_task(**message_of(row))
    assert ran[:2] == [1, 2]


def test_a_handlers_payload_is_what_the_call_has_sent(monkeypatch):
    seen = []
    monkeypatch.setattr(handlers, "nothing", lambda row, payload: seen.append(payload))
    row = Job.objects.create()
    more = {"anything": {"a": [1, None]}, "proxied_content": "YQ==", "proxied_error": "none"}
    sent = {"task_info": row.get_task_info(), "step": 1, **more}
    assert code("do_task", **sent) == 0
    assert seen == [sent]


def test_what_a_handler_returns_is_read_with_its_passwords():
    row = Steps.objects.create(what="always_proxied", url="http://127.0.0.1:1/")
    answer = call("do_task", task_info=row.get_task_info(), step=1)
    proxy = answer["result"]["data"]["proxy"]
    assert proxy == {"method": "GET", "url": row.url, "auth": ["user", "s3cret"]}


# -- cannot --------------------------------------------------------------------------------


def test_no_field_is_written():
    row = Job.objects.create()
    more = {"force": True, "status": 20, "what": "fail", "note": "x", "success": False, "other": 7}
    assert code("do_task", task_info=row.get_task_info(), **more) == 0
    row.refresh_from_db()
    found = (row.what, row.note, row.other, row.status, row.success)
    assert found == ("nothing", "", 0, DONE, True)


# -- the key -------------------------------------------------------------------------------


def test_attempts_are_not_limited():
    row = Job.objects.create()
    assert {code("get_a_task", key=f"wrong {n}") for n in range(100)} == {2910003}
    assert call("get_a_task")["result"] == row.get_task_info()


def test_a_key_is_compared_in_constant_time(monkeypatch):
    compared = []

    def compare(*values):
        compared.append(values)
        return False

    monkeypatch.setattr(views, "constant_time_compare", compare)
    assert code("do_auto_reset") == 2910003  # whose key is right: nothing else compares it
    assert compared == [(KEY.encode(), KEY)]


def test_the_key_is_the_secret_key_unless_it_is_set(settings, monkeypatch):
    assert code("do_auto_reset", key=settings.SECRET_KEY) == 2910003
    del settings.DJANGO_SIMPLETASK2_ACLKEY
    monkeypatch.delitem(vars(conf.conf), "aclkey")  # as it was read
    assert code("do_auto_reset", key=settings.SECRET_KEY) == 0
    assert code("do_auto_reset") == 2910003


def test_after_a_rotation_the_old_key_is_refused_and_workers_go_on(settings):
    row = Job.objects.create()
    settings.DJANGO_SIMPLETASK2_ACLKEY = "the new key"
    assert code("get_a_task") == code("do_task", task_info=row.get_task_info()) == 2910003
    row.refresh_from_db()
    assert (row.status, row.start_time) == (Job.READY, None)
    assert tasks.do_task(**message_of(row))["success"] is True
    second = Job.objects.create()
    assert call("get_a_task", key="the new key")["result"] == second.get_task_info()
