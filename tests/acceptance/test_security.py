"""What the log of a worker, or of a process that publishes, holds and does not hold."""

import json
import os
import re

import pytest
from celery import current_app
from django.db import connections

from tests.support import ALIASES
from tests.support.fixtures import message_of, queued, redis, wait_until
from tests.support.project.jobs.models import Job, Steps
from tests.support.rows import done, on_each


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_no_secret_of_a_run_with_proxy_steps_is_in_the_log_of_a_worker(worker):
    url = "http://user:s3cret@127.0.0.1:1/path?token=s3cret"
    rows = on_each(Steps, what="always_proxied", url=url)
    process = worker("-l", "DEBUG", children=1, CHILD_HIJACK_ROOT_LOGGER="1")
    wait_until(done(*rows), what=process.log)
    ended = [f"'{row.get_task_info()}: OK'" for row in rows]  # not what the step returned
    wait_until(lambda: all(text in process.log.read_text() for text in ended))
    log = process.log.read_text()
    assert "proxy request failed: ConnectionError: Connection refused" in log
    assert "Starting new HTTP connection" in log  # urllib3's own line
    assert "s3cret" not in log


def record_of(log, *words):
    """Return the record of a log that has these words, with the lines after its first."""
    records = re.split(r"^(?=\[\d{4}-)", log.read_text(), flags=re.MULTILINE)
    found = [one for one in records if all(word in one for word in words)]
    return found[0] if found else None


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_celery_logs_what_a_handler_raised_with_its_traceback(worker):
    rows = on_each(what="fail")
    process = worker(children=1)
    for row in rows:
        words = (row.get_task_info(), "2910009", "ERROR")
        record = wait_until(lambda words=words: record_of(process.log, *words), what=process.log)
        assert "Traceback (most recent call last)" in record
        assert 'raise ValueError("as told")' in record  # the line of the handler
    wait_until(done(*rows))


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_an_error_that_kept_a_write_from_being_saved_is_named_by_its_class(worker):
    if connections["server"].vendor != "postgresql":
        pytest.skip("an index of some rows")
    with connections["server"].cursor() as cursor:
        cursor.execute("CREATE UNIQUE INDEX one_note ON jobs_job (note) WHERE note <> ''")
    try:
        objects = Job.objects.using("server")
        objects.bulk_create([Job(note="s3cret of another row", status=30)])
        row = objects.create(what="take_the_note_of_another")
        process = worker(children=1)
        words = (row.get_task_info(), "2910010")
        record = wait_until(lambda: record_of(process.log, *words), what=process.log)
    finally:
        with connections["server"].cursor() as cursor:
            cursor.execute("DROP INDEX one_note")
    assert "failed with error message: IntegrityError." in record
    assert "s3cret" in record, record  # PostgreSQL's own words, in the traceback


@pytest.mark.django_db(transaction=True)
def test_what_a_handler_returns_is_logged_where_its_result_is_stored(worker):
    row = Job.objects.create(what="tell_a_secret")
    [message] = queued()
    process = worker(children=1, CHILD_RESULT_BACKEND=os.environ["TEST_REDIS_URL"])
    options = {"task_id": "stored", "ignore_result": False}
    current_app.send_task("simpletask2_celery.do_task", kwargs=message, **options)
    key = "celery-task-meta-stored"
    stored = json.loads(wait_until(lambda: redis().get(key), what=process.log))
    redis().delete(key)
    assert stored["result"]["result"]["data"] == "s3cret" * 1000
    record = wait_until(lambda: record_of(process.log, "succeeded", "s3cret"), 10, process.log)
    assert "INFO" in record and row.get_task_info() in record
    assert 50 < record.count("s3cret") < 500  # the beginning of it
    assert message == message_of(row)


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.parametrize("url", ["redis://:{}@127.0.0.1:1/0", "amqp://user:{}@127.0.0.1:1//"])
def test_a_broker_that_failed_is_logged_without_its_password(child, url):
    told = child("told", ",".join(ALIASES), CHILD_BROKER_URL=url.format("s3cret")).read()
    [line] = told["logged"]  # and then nothing is tried for a while
    shown = url.format("**").removesuffix("/0").removesuffix("//")
    assert line.startswith(f"Broker {shown}") and "s3cret" not in line
