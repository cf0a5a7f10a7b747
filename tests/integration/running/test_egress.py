"""Proxy requests that are handed over: what is sent, and what the answer may do to its row."""

import base64
import datetime
import gc
import logging
import warnings
from contextlib import nullcontext

import pytest
from celery import current_app
from django.utils import timezone

from simpletask2_celery import tasks, testing
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.recovery import auto_reset, requests_out
from simpletask2_celery.running import executor, requesting
from simpletask2_celery.running.proxy.policy import Policy
from tests.support.fixtures import message_of, messages, queue_name
from tests.support.project.jobs.models import AtomicSteps, DurableSteps, Steps

ANSWER = {
    "proxied_content": base64.encodebytes(b"hello").decode(),
    "proxied_error": None,
    "proxied_status": 200,
    "proxied_headers": {"Content-Length": "5"},
}


# amqp leaves the socket of a connection that has failed to Python.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def proxy_queue(settings):
    """Set the queue, and leave no connection of this test to the next one."""
    settings.DJANGO_SIMPLETASK2_PROXY_QUEUE = queue_name("a")
    yield
    kept = requesting._sender(current_app._get_current_object())._kept
    while kept:
        kept.pop().connection.release()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def make(model, using, what="always_proxied", **fields):
    url = "http://user:s3cret@127.0.0.1:1/path?key=s3cret"
    return model.objects.using(using).create(what=what, url=url, **fields)


def run(row):
    """Run the row as a worker does; return the messages for an egress worker."""
    requests = requesting.ByEgress(requests_out.note)
    executor.run(type(row), row._state.db, row.pk, requests=requests)
    row.refresh_from_db()
    return messages("a")


def answered(sent, **more):
    """Return the kwargs of the answer to a request that was sent."""
    return {**sent["reply"]["kwargs"], "answer": ANSWER, "request_seconds": 0.5, **more}


def go_on(kwargs):
    """Run the message of an answer; its envelope is what the task returns."""
    return tasks.go_on.apply(kwargs=kwargs, throw=True).result


def test_a_run_that_hands_its_request_over_ends_and_its_row_stays_doing(using):
    row = make(Steps, using)
    before = timezone.now()
    [(kwargs, message)] = run(row)
    lease = (row.auto_reset_time - before).total_seconds()
    assert (row.status, row.current_step) == (row.DOING, 1)
    assert lease == pytest.approx(row.do_task_timeout, abs=5)
    assert kwargs["task_info"] == row.get_task_info()
    assert kwargs["request"] == {"method": "GET", "url": row.url, "auth": ["user", "s3cret"]}
    assert Policy.of_json(kwargs["policy"]) == Policy()
    assert kwargs["reply"]["queue"] == queue_name()
    named = kwargs["reply"]["kwargs"]
    about = message_of(row)
    assert about.items() <= named.items() and named["step"] == 1
    assert datetime.datetime.fromisoformat(named["token"]) == row.start_time
    headers = message.headers
    assert headers["task"] == "simpletask2_celery.fetch" and headers["shadow"] == "jobs.steps"
    assert "s3cret" not in headers["argsrepr"] + headers["kwargsrepr"]
    assert "127.0.0.1:1/path" not in headers["argsrepr"]


@pytest.mark.parametrize("serializer", ["pickle", "yaml"])
def test_a_request_is_json_whatever_the_app_sends(using, configure, serializer):
    configure("task_serializer", serializer)
    [(_, message)] = run(make(Steps, using))
    assert message.content_type == "application/json"


def test_the_answer_goes_on_with_the_next_step(using, heard):
    row = make(Steps, using, "proxied_dict")
    [(sent, _)] = run(row)
    assert [one["step"] for one in heard.of("step_finished")] == []
    assert go_on(answered(sent))["success"]
    row.refresh_from_db()
    assert (row.status, row.success, row.note) == (row.DONE, True, "1:;2:hello;3:;4:;")
    told = [(one["step"], one["request_seconds"]) for one in heard.of("step_finished")]
    assert told == [(1, 0.5), (2, None), (3, None), (4, None)]
    assert len(heard.of("task_started")) == len(heard.of("task_finished")) == 1
    assert [len(times) for times in requests_out.times(row).values()] == [2]


def test_each_request_of_a_row_is_handed_over(using, settings):
    row = make(Steps, using)
    [(sent, _)] = run(row)
    requests = requesting.ByEgress(requests_out.note)
    for step in (1, 2, 3):
        back = answered(sent)
        noted = tasks._noting_return(lambda row: nullcontext(), back)
        answer = tasks.answers_back.read(Steps, row.pk, back)
        assert [len(times) for times in requests_out.times(row).values()] == [2] * (step - 1) + [1]
        executor.go_on(Steps, using, row.pk, answer, noted=noted, requests=requests)
        row.refresh_from_db()
        if step < 3:
            [(sent, _)] = messages("a")
            assert (row.status, row.current_step) == (row.DOING, step + 1)
            assert sent["reply"]["kwargs"]["step"] == step + 1
    assert (row.status, row.success) == (row.DONE, True)
    times = requests_out.times(row)
    assert [times[1][1], times[2][1]] == [row.step2_time, row.step3_time]
    assert row.step3_time <= times[3][0] <= times[3][1] <= row.done_time


def test_a_doubled_answer_does_nothing(using, caplog):
    caplog.set_level(logging.INFO)
    row = make(Steps, using, "proxied_dict")
    [(sent, _)] = run(row)
    go_on(answered(sent))
    row.refresh_from_db()
    before = vars(row).copy()
    again = go_on(answered(sent))
    row.refresh_from_db()
    assert again["error"]["code"] == 2910015 and "nothing to do" in caplog.text
    assert {k: v for k, v in vars(row).items() if k[0] != "_"} == {
        k: v for k, v in before.items() if k[0] != "_"
    }


def test_a_doubled_answer_does_nothing_while_the_next_step_runs(using, handler):
    codes = []

    def told(row, payload):
        if payload["step"] == 1:
            return {"proxy": {"method": "GET", "url": "http://a/"}}
        if payload["step"] == 2:
            codes.append(go_on(answered(sent))["error"]["code"])
        row.note += str(payload["step"])

    row = make(Steps, using, handler(told))
    [(sent, _)] = run(row)
    assert go_on(answered(sent))["success"]
    row.refresh_from_db()
    assert (codes, row.note, row.success) == ([2910013], "234", True)


AGAINST = {
    "reset": lambda row: row.reset(),
    "claimed again": lambda row: run(row.reset()),
    "deleted": lambda row: row.delete(),
    "done": lambda row: row.done(force=True),
}


@pytest.mark.parametrize("act", AGAINST)
def test_a_late_answer_does_nothing(using, act, caplog):
    caplog.set_level(logging.INFO)
    row = make(Steps, using, "proxied_dict")
    [(sent, _)] = run(row)
    AGAINST[act](Steps.objects.using(using).get(pk=row.pk))
    rows = Steps.objects.using(using).filter(pk=sent["reply"]["kwargs"]["id"])
    before = list(rows.values())
    late = go_on(answered(sent))
    assert not late["success"] and "nothing to do" in caplog.text
    assert list(rows.values()) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": 0},
        {"step": 4},
        {"step": True},
        {"token": None},
        {"token": "yesterday"},
        {"answer": None},
        {"answer": {}},
        {"answer": {**ANSWER, "proxied_status": "200"}},
        {"answer": {**ANSWER, "proxied_headers": {"a": 1}}},
        {"answer": {**ANSWER, "more": 1}},
        {"seconds": -1},
        {"request_seconds": "x"},
    ],
)
def test_what_is_no_answer_is_refused(using, wrong, caplog):
    row = make(Steps, using)
    [(sent, _)] = run(row)
    told = go_on(answered(sent, **wrong))
    assert told["error"]["code"] == 2910005 and "message refused" in caplog.text
    row.refresh_from_db()
    assert (row.status, row.current_step) == (row.DOING, 1)


def test_a_request_that_json_cannot_hold_is_an_error_and_is_not_sent(using, handler):
    def told(row, payload):
        if payload["step"] == 1:
            return {"proxy": {"method": "POST", "url": "http://a/", "data": b"s3cret"}}
        row.note += str(payload["proxied_error"])

    row = make(Steps, using, handler(told))
    assert run(row) == []
    assert row.success and "JSON" in row.note and "s3cret" not in row.note


def test_a_broker_that_is_away_leaves_the_row_to_its_lease(using, monkeypatch, caplog):
    def away(*_, **__):
        raise ConnectionRefusedError(111, "refused")

    row = make(Steps, using)
    monkeypatch.setattr("simpletask2_celery.running.proxy.sending.Sender._connected", away)
    requesting._sender(current_app._get_current_object())._kept.clear()
    assert run(row) == []
    assert (row.status, row.current_step) == (row.DOING, 1)
    assert "was not sent" in caplog.text


@pytest.mark.parametrize("model", [DurableSteps, AtomicSteps])
def test_a_durable_row_that_was_lost_repeats_the_request_alone(using, model, handler):
    called = []

    def told(row, payload):
        called.append(payload["step"])
        if payload["step"] == 1:
            return {"proxy": {"method": "GET", "url": "http://a/"}}

    row = make(model, using, handler(told))
    [(lost, _)] = run(row)
    assert (row.completed_step, row.pending_request["url"]) == (1, "http://a/")
    over = timezone.now() - datetime.timedelta(seconds=1)
    model.objects.using(using).filter(pk=row.pk).update(auto_reset_time=over)
    auto_reset.run()
    [(sent, _)] = run(row)
    assert called == [1] and (row.current_step, row.attempts, row.lost_attempts) == (1, 2, 1)
    assert go_on(answered(lost))["error"]["code"] == 2910014
    assert go_on(answered(sent))["success"]
    assert not go_on(answered(sent))["success"]
    row.refresh_from_db()
    assert called == [1, 2, 3] and (row.success, row.completed_step) == (True, 3)


def test_a_model_says_where_its_requests_are_made(using, site, monkeypatch):
    monkeypatch.setattr(Steps, "proxy_queue", "")
    row = make(Steps, using, "proxied")
    row.url = f"http://127.0.0.1:{site.server_port}/"
    row.save()
    assert run(row) == [] and row.success
    monkeypatch.setattr(Steps, "proxy_queue", queue_name("mail"))
    row = make(Steps, using, "proxied")
    assert run(row) == []
    assert [kwargs["task_info"] for kwargs, _ in messages("mail")] == [row.get_task_info()]


def test_the_testing_kit_and_direct_calls_make_requests_here(using):
    assert testing.run(make(Steps, using, "proxied"), proxy=["hello"]).row.success
    row = make(Steps, using, "proxied")
    tasks.do_task(**message_of(row))
    executor.run(Steps, using, make(Steps, using, "proxied").pk, force=True)
    row.refresh_from_db()
    assert row.status == row.DONE and messages("a") == []


def test_a_request_that_fails_in_its_step_is_no_request(using, handler):
    row = make(Steps, using, handler(lambda row, payload: 1 / 0))
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    assert messages("a") == []
