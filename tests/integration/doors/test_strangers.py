"""What strangers send, and what they get to see: bounded, and nobody else's."""

import json
import logging

import pytest
from django.db import connections
from django.test import Client

from simpletask2_celery import metrics, tasks
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.publishing.to_celery import BATCH
from simpletask2_celery.rows import claiming, transitions
from simpletask2_celery.running import only_json
from tests.support.http_api import KEY, send
from tests.support.project.jobs.models import ChannelJob, CodeJob, Job
from tests.support.rows import READY

LONG = "x\n[CRITICAL] FORGED " + "A" * 2_000_000


def test_a_key_that_is_longer_than_any_is_refused_in_few_words(db, caplog):
    answer = tasks.do_task("jobs", "codejob", LONG)
    assert answer["error"]["code"] == 2910005
    body = json.dumps({"aclkey": KEY, "task_info": f"jobs.codejob:{LONG}"})
    answer = send("do_task", body)
    assert answer["error"]["code"] == 2910005 and len(str(answer)) < 1000
    assert len(caplog.text) < 5000 and "\n[CRITICAL]" not in caplog.text
    assert CodeJob.objects.create(code="c" * 40).pk  # as long as the key may be
    assert tasks.do_task("jobs", "codejob", "c" * 40)["success"]


def test_a_message_of_more_rows_than_anybody_publishes_is_refused(db, caplog):
    row = Job.objects.create()
    answer = tasks.do_task("jobs", "job", ids=[row.pk] * (BATCH + 1))
    assert answer["error"]["code"] == 2910005 and f"{BATCH + 1} ids" in caplog.text
    row.refresh_from_db()
    assert row.status == READY


def test_a_call_with_more_channels_than_anybody_has_is_refused(db):
    names = ",".join(f"c{number}" for number in range(1001))
    answer = send("get_a_task", json.dumps({"aclkey": KEY, "channels": names}))
    assert answer["error"]["code"] == 2910001 and "1000" in answer["error"]["message"]


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_an_error_of_the_database_does_not_tell_another_rows_values():
    connection = connections["server"]
    if connection.vendor != "postgresql":
        pytest.skip("an index of some rows")
    with connection.cursor() as cursor:
        cursor.execute("CREATE UNIQUE INDEX one_note ON jobs_job (note) WHERE note <> ''")
    try:
        Job.objects.using("server").create(note="SECRET of another row")
        row = Job.objects.using("server").create()
        claimed = claiming.claim(Job, "server", row.pk)
        claimed.note = "SECRET of another row"
        with pytest.raises(DjangoSimpleTask2Error) as caught:
            transitions.finish(claimed)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX one_note")
    assert "IntegrityError" in str(caught.value) and "SECRET" not in str(caught.value)


def test_a_result_backend_that_is_down_does_not_end_the_worker(caplog):
    class Backend:
        def mark_as_done(self, *args):
            raise ConnectionError("refused")

    class Task:
        name, backend = "simpletask2_celery.do_task", Backend()

    class Message:
        content_type, headers = "application/x-python-serialize", {"id": ["x"]}

    Message.headers["ignore_result"] = False
    with caplog.at_level(logging.ERROR):
        only_json._refuse(Task, Message)
    assert "refusal was not stored" in caplog.text


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_channels_without_end_are_few_short_labels():
    metrics._channels.clear()
    rows = [ChannelJob(topic=f"{n}-" + "c" * 60) for n in range(120)]
    try:
        assert len({metrics._label(row.topic) for row in rows}) == 101  # and "(others)"
        assert len(metrics._label("y" * 5000)) < 200
    finally:
        metrics._channels.clear()


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_who_has_to_log_in_everywhere_need_not_for_the_api_and_metrics(settings):
    middleware = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, middleware]
    answer = send("get_a_task", json.dumps({"aclkey": KEY, "channels": "none"}))
    assert answer["error"]["code"] == 2910012
    assert Client().get("/metrics").status_code == 200
    assert Client().get("/admin/").status_code == 302
