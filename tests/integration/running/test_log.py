"""What docs/operate/observing.md says of the library's log lines: their levels and facts."""

import json
import logging

import pytest

from simpletask2_celery import signals, tasks
from simpletask2_celery.publishing import to_celery
from simpletask2_celery.recovery import keeper
from simpletask2_celery.rows import claiming
from simpletask2_celery.running.proxy import fetching
from tests.support import ALIASES
from tests.support.fixtures import message_of, queued
from tests.support.http_api import KEY, send
from tests.support.project.jobs.models import Job, Steps
from tests.support.rows import overdue

ATTRIBUTES = ("task_info", "step", "code", "duration")


@pytest.fixture
def lines(caplog):
    """Return the library's own records since the last call, from a level on."""
    caplog.set_level(logging.DEBUG)

    def take(level=logging.INFO):
        ours = [r for r in caplog.records if r.name.startswith("simpletask2_celery.")]
        found = [record for record in ours if record.levelno >= level]
        caplog.clear()
        return found

    return take


def facts(record):
    return {name: getattr(record, name) for name in ATTRIBUTES if hasattr(record, name)}


# -- levels ------------------------------------------------------------------------------


def test_nothing_to_do_and_a_request_that_failed_are_info(using, lines):
    row = Job.objects.using(using).create()
    name = row.get_task_info()
    [message] = queued()
    tasks.do_task(**message)
    lines()
    tasks.do_task(**message)
    [line] = lines()
    assert (line.levelname, facts(line)) == ("INFO", {"task_info": name, "code": 2910015})
    row = Steps.objects.using(using).create(what="proxied", url="http://127.0.0.1:1/")
    tasks.do_task(**message_of(row))
    [line] = lines()
    assert line.levelname == "INFO" and "proxy request failed" in line.getMessage()
    assert line.task_info == row.get_task_info() and 0 < line.duration < 5


def test_a_lost_process_an_unpublished_row_and_a_lost_broker_are_warnings(
    using, lines, monkeypatch
):
    row = Job.objects.using(using).create()
    claimed = claiming.claim(Job, using, row.pk)
    named = {"app_label": "jobs", "model": "job", "id": row.pk, "using": using}
    keeper.release({**named, "token": claimed.start_time.isoformat(), "timed_out": False})
    [line] = lines()
    assert line.levelname == "WARNING" and "its process died" in line.getMessage()
    assert facts(line) == {"task_info": row.get_task_info(), "step": 1}
    row.refresh_from_db()
    row.start()
    lines()
    row.publish()
    [line] = lines()
    assert line.levelname == "WARNING" and "not READY" in line.getMessage()
    assert line.task_info == row.get_task_info()

    def refused(*args):
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(to_celery, "_send_batch", refused)
    Job.objects.using(using).create()
    [line] = lines()
    assert line.levelname == "WARNING" and "Rows not published: 1" in line.getMessage()


def test_a_row_given_up_a_bad_message_and_a_failing_receiver_are_errors(
    using, lines, settings, connect
):
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 1
    row = Job.objects.using(using).create()
    overdue(using, row)
    tasks.do_auto_reset()
    [line] = lines()
    assert line.levelname == "ERROR" and "given up" in line.getMessage()
    about = {"task_info": row.get_task_info(), "step": 1, "code": 2910009}
    assert facts(line) == about
    for kwargs, code in (
        ({"id": "x"}, 2910005),
        ({"model": "x"}, 2910006),
        ({"id": None}, 2910011),
    ):
        tasks.do_task(**{"app_label": "jobs", "model": "job", "id": 1, **kwargs})
        [line] = lines()
        assert (line.levelname, line.code) == ("ERROR", code)

    def fails(**kwargs):
        raise ValueError("of a receiver")

    connect(signals.task_published, fails)
    Job.objects.using(using).create()
    [line] = lines()
    assert line.levelname == "ERROR" and "of a receiver" in line.exc_text


def test_a_row_that_runs_well_writes_nothing_above_debug(using, lines, site):
    url = f"http://127.0.0.1:{site.server_port}/"
    rows = [
        Job.objects.using(using).create(what="write_ledger"),
        Steps.objects.using(using).create(what="proxied", url=url),
    ]
    for message in queued():
        assert tasks.do_task(**message)["success"]
    for row in rows:
        row.refresh_from_db()
        assert row.success
    written = lines(logging.DEBUG)
    assert {line.levelname for line in written} == {"DEBUG"}
    assert [line.getMessage().rpartition(": ")[2] for line in written].count("done") == 2


# -- what they do not hold -----------------------------------------------------------------


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_no_line_has_the_content_of_a_row_or_a_payload(lines, handler, settings):
    def told(row, payload):
        row.note += "s3cret"
        return {"a": "s3cret"}

    what = handler(told)
    row = Steps.objects.create(what=what, note="s3cret")
    [message] = queued()
    tasks.do_task(**message)
    tasks.do_task(**message)
    row.reset()
    for step in (1, 2, 2, 3, 4, 5):
        body = {"task_info": row.get_task_info(), "step": step, "proxied_content": "s3cret"}
        send("do_task", json.dumps({"aclkey": KEY, **body}))
    settings.DJANGO_SIMPLETASK2_MAX_LOST_RUNS = 1
    lost = Job.objects.create(note="s3cret")
    overdue("default", lost)
    tasks.do_auto_reset()
    fetching.fetch("jobs.steps:1", {"method": "GET", "url": "http://x.invalid/?s3cret"})
    written = lines(logging.DEBUG)
    assert {line.levelname for line in written} >= {"DEBUG", "INFO", "ERROR"}
    for line in written:
        said = f"{line.getMessage()} {line.exc_text} {facts(line)}"
        assert "s3cret" not in said and KEY not in said


@pytest.mark.django_db(transaction=True)
def test_a_call_without_a_name_is_logged_with_the_beginning_of_what_it_sent(lines):
    send("do_task", json.dumps({"aclkey": KEY, "proxied_content": "begin" + "x" * 5000}))
    [line] = lines()
    said = line.getMessage()
    assert (line.levelname, line.code) == ("INFO", 2910011)
    assert "begin" in said and len(said) < 400 and KEY not in said
