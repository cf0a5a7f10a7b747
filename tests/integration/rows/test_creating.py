"""Rows made by name, as the Celery task of a time table does."""

import datetime
import decimal
import logging
import uuid
from unittest.mock import Mock

import pytest
from celery.app.task import Context
from celery.exceptions import Retry
from django.db import IntegrityError, OperationalError, connections, transaction
from django.db.models.signals import post_save
from django.utils import timezone

from simpletask2_celery import tasks
from simpletask2_celery.rows import creating
from tests.support.fixtures import message_of, messages, queued
from tests.support.project.jobs.models import ChildJob, CodeJob, DayJob, DurableJob, EveryJob, Job
from tests.support.rows import READY

NOON = datetime.datetime(2026, 1, 31, 12, 5, 6, tzinfo=datetime.UTC)


def create(model, fields, using, tick=NOON):
    """Run the task as a worker does, for a message that was sent at that time."""
    kwargs = {"model": model, "fields": fields, "using": using}
    headers = {tasks.TICK: tick.isoformat()}
    return tasks.create.apply(kwargs=kwargs, headers=headers).get()


def test_a_row_is_made_and_published_and_named(using):
    name = create("jobs.job", {"what": "slow", "other": 3}, using)
    row = Job.objects.using(using).get()
    assert (row.what, row.other, row.note, row.status) == ("slow", 3, "", READY)
    assert name == f"jobs.job:{row.pk}" and queued() == [message_of(row)]


def test_a_model_without_fields_to_set_and_the_database_of_the_router(using):
    """Names of models are Django's: capitals do not count."""
    kwargs = {"model": "jobs.Job"}
    assert tasks.create(**kwargs) == f"jobs.job:{Job.objects.get().pk}"
    assert queued() == [message_of(Job.objects.get())]


# -- values ------------------------------------------------------------------------------


def test_json_becomes_what_each_field_holds(using):
    other = Job.objects.using(using).create()
    fields = {
        "data": {"days": ["{tick:%d}", 1], "{tick:%d}": None},
        "price": "12.50",
        "length": "1 00:00:05",
        "raw": "AP8=",
        "key": "00000000-0000-0000-0000-000000000007",
        "day": "{tick:%Y-%m-%d}",
        "clock": "04:05:06",
        "ratio": 0.25,
        "upper": "ABC",
        "odd": "3",
        "other_job_id": other.pk,
        "file": "a/{tick:%d%m}.txt",
    }
    create("jobs.everyjob", fields, using)
    row = EveryJob.objects.using(using).get()
    assert row.data == {"days": ["31", 1], "{tick:%d}": None}
    assert (row.price, row.length) == (
        decimal.Decimal("12.50"),
        datetime.timedelta(days=1, seconds=5),
    )
    assert (bytes(row.raw), row.key) == (b"\0\xff", uuid.UUID(int=7))
    assert (row.day, row.clock) == (datetime.date(2026, 1, 31), datetime.time(4, 5, 6))
    assert (row.ratio, row.upper, row.odd) == (0.25, "ABC", 3)
    assert (row.other_job, row.file.name) == (other, "a/3101.txt")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{tick:%Y-%m-%d}", "2026-01-31"),
        ("a {tick:%H:%M} b {tick:%d}", "a 20:05 b 31"),
        ("{tick}{tick:}{Tick:%Y}{ tick:%Y}", "{tick}{tick:}{Tick:%Y}{ tick:%Y}"),
        ("{tick.__class__}{0}{using}", "{tick.__class__}{0}{using}"),
        ("{{tick:%Y}} {{x}}", "{2026} {{x}}"),
        ("{tick:%Y", "{tick:%Y"),
        ("100%d", "100%d"),
    ],
)
def test_only_a_tick_with_a_format_is_replaced(using, settings, text, expected):
    settings.TIME_ZONE = "Asia/Shanghai"
    create("jobs.dayjob", {"key": text}, using)
    assert DayJob.objects.using(using).get().key == expected


def test_a_durable_row_says_when_it_is_due(using):
    create("jobs.durablejob", {"run_after": "2126-01-31T{tick:%H}:00:00Z"}, using)
    row = DurableJob.objects.using(using).get()
    hour = timezone.localtime(NOON).hour
    assert row.run_after == datetime.datetime(2126, 1, 31, hour, tzinfo=datetime.UTC)
    assert row.status == READY and queued() == []


def test_a_time_without_a_zone_is_in_the_projects(using, settings):
    settings.TIME_ZONE = "Asia/Shanghai"
    create("jobs.dayjob", {"key": "a", "due": "{tick:%Y-%m-%d} 06:00"}, using)
    create("jobs.dayjob", {"key": "b", "due": "2026-01-31T06:00:00Z"}, using)
    create("jobs.dayjob", {"key": "c", "due": None}, using)
    assert [*DayJob.objects.using(using).order_by("key").values_list("due", flat=True)] == [
        datetime.datetime(2026, 1, 30, 22, tzinfo=datetime.UTC),
        datetime.datetime(2026, 1, 31, 6, tzinfo=datetime.UTC),
        None,
    ]


@pytest.mark.parametrize(
    ("model", "fields", "error", "words"),
    [
        ("jobs.jop", {}, ValueError, "no model of tasks jobs.jop. Did you mean jobs.job?"),
        ("jobs.ledger", {}, ValueError, "no model of tasks jobs.ledger."),
        ("nonsense", {}, ValueError, "no model of tasks nonsense. There are: jobs.asyncjob,"),
        (None, {}, TypeError, 'model must be a text as "app.model", not None.'),
        ("jobs.job", [], TypeError, "fields must be an object as"),
        ("jobs.job", {"waht": 1}, ValueError, "no field jobs.job.waht to set. Did you mean what?"),
        ("jobs.job", {"pk": 1}, ValueError, "no field jobs.job.pk to set"),
        ("jobs.job", {"get_task_info": 1}, ValueError, "There are: id, note, other, what."),
        ("jobs.everyjob", {"other_job": 1}, ValueError, "name the row's key, as other_job_id."),
        *(
            ("jobs.job", {name: value}, ValueError, f"jobs.job.{name} is written by the library")
            for name, value in [("status", 30), ("start_time", None), ("add_time", "2026-01-31")]
        ),
        ("jobs.durablejob", {"attempts": 3}, ValueError, "attempts is written by the library"),
        ("jobs.durablejob", {"x": 3}, ValueError, "are: id, note, run_after, topic, what."),
        ("jobs.job", {"other": "x"}, ValueError, "jobs.job.other cannot be x: “x” value must be"),
        ("jobs.job", {"other": 1.5}, ValueError, "other cannot be 1.5: the field takes a whole"),
        ("jobs.job", {"other": True}, ValueError, "other cannot be True: the field takes a whole"),
        ("jobs.job", {"other": None}, ValueError, "other cannot be None: the field takes no null"),
        ("jobs.job", {"other": [1]}, ValueError, "jobs.job.other cannot be [1]"),
        ("jobs.job", {"note": {"a": 1}}, ValueError, "the field takes a text."),
        ("jobs.everyjob", {"day": "31.1.2026"}, ValueError, "day cannot be 31.1.2026"),
        ("jobs.everyjob", {"day": 5}, ValueError, "jobs.everyjob.day cannot be 5"),
        ("jobs.everyjob", {"price": "NaN"}, ValueError, "price cannot be NaN"),
        ("jobs.everyjob", {"price": True}, ValueError, "the field takes a number."),
        ("jobs.everyjob", {"key": "7"}, ValueError, "key cannot be 7"),
        ("jobs.everyjob", {"raw": "abc"}, ValueError, "raw cannot be abc"),
        ("jobs.everyjob", {"other_job_id": "x"}, ValueError, "other_job_id cannot be x"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(using, model, fields, error, words):
    with pytest.raises(error) as caught:
        create(model, fields, using)
    assert words in str(caught.value)
    assert not Job.objects.using(using).exists() and queued() == []


@pytest.mark.parametrize("alias", ["nowhere", 3, ["default"]])
def test_an_unknown_database_is_named_with_those_there_are(using, alias):
    with pytest.raises(ValueError, match=r"no database .*There are: default, server\."):
        create("jobs.job", {}, alias)


# -- unique keys ---------------------------------------------------------------------------


def test_one_tick_sent_twice_makes_one_row(using, caplog):
    caplog.set_level(logging.INFO)
    fields = {"key": "{tick:%Y-%m-%d}"}
    assert create("jobs.dayjob", fields, using) is not None
    assert create("jobs.dayjob", fields, using, NOON + datetime.timedelta(hours=1)) is None
    [row] = DayJob.objects.using(using).all()
    assert row.key == "2026-01-31" and queued() == [message_of(row)]
    [line] = [one for one in caplog.records if "nothing was made" in one.message]
    assert line.levelname == "INFO" and line.message.startswith("jobs.dayjob: ")
    assert create("jobs.dayjob", fields, using, NOON + datetime.timedelta(days=1)) is not None


def test_a_primary_key_is_a_unique_key_and_no_row_is_written_over(using):
    assert create("jobs.codejob", {"code": "{tick:%d}"}, using) == "jobs.codejob:31"
    CodeJob.objects.using(using).update(status=30)
    assert create("jobs.codejob", {"code": "{tick:%d}"}, using) is None
    assert CodeJob.objects.using(using).get().status == 30


def test_the_row_of_a_parent_is_not_written_over(using):
    parent = Job.objects.using(using).create(note="kept")
    assert create("jobs.childjob", {"id": parent.pk, "extra": "x"}, using) is None
    assert Job.objects.using(using).get().note == "kept"
    assert create("jobs.childjob", {"note": "new", "extra": "x"}, using) is not None
    assert ChildJob.objects.using(using).get().note == "new"


def test_in_a_transaction_the_statements_before_are_kept(using):
    with transaction.atomic(using):
        DayJob.objects.using(using).create(key="31")
        assert create("jobs.dayjob", {"key": "{tick:%d}"}, using) is None
        Job.objects.using(using).create()
    assert DayJob.objects.using(using).count() == Job.objects.using(using).count() == 1


def test_another_integrity_error_is_raised(using):
    with pytest.raises(IntegrityError):
        create("jobs.everyjob", {"other_job_id": 77}, using)
    assert not EveryJob.objects.using(using).exists() and queued() == []


def test_the_unique_key_of_a_receivers_row_is_its_own_affair(using):
    DayJob.objects.using(using).create(key="there")
    queued()

    def make_another(sender, instance, **kwargs):
        DayJob(key="there").save(using=instance._state.db)

    post_save.connect(make_another, sender=Job)
    try:
        with pytest.raises(IntegrityError):
            create("jobs.job", {}, using)
    finally:
        post_save.disconnect(make_another, sender=Job)
    assert not Job.objects.using(using).exists() and queued() == []


# -- the time of a tick --------------------------------------------------------------------


def sent(**options):
    """Return the headers of the message that beat sends."""
    tasks.create.apply_async(kwargs={"model": "jobs.job", "fields": {}}, **options)
    [(kwargs, message)] = messages()
    assert kwargs == {"model": "jobs.job", "fields": {}}
    return message.headers


def test_a_message_says_when_it_was_sent(using):
    before = timezone.now()
    headers = {"celery_beat_task": True}
    time = sent(headers=headers)
    assert before <= datetime.datetime.fromisoformat(time[tasks.TICK]) <= timezone.now()
    assert time["celery_beat_task"] is True
    assert headers == {"celery_beat_task": True}  # beat's entry: it sends it again


def test_a_header_of_the_senders_own_stays(using):
    assert sent(headers={tasks.TICK: "2026-01-31"})[tasks.TICK] == "2026-01-31"


def test_a_message_of_another_sender_has_the_time_now(using, settings):
    settings.TIME_ZONE = "Pacific/Kiritimati"
    kwargs = {"model": "jobs.dayjob", "fields": {"key": "{tick:%Y}"}, "using": using}
    tasks.create.apply(kwargs=kwargs, throw=True)
    assert DayJob.objects.using(using).get().key == str(timezone.localtime().year)


@pytest.mark.parametrize("header", ["soon", 3])
def test_a_header_that_is_no_time_is_an_error(using, header):
    kwargs = {"model": "jobs.job", "using": using}
    with pytest.raises(ValueError, match="simpletask2_tick must be a time as 2026-01-31T"):
        tasks.create.apply(kwargs=kwargs, headers={tasks.TICK: header}, throw=True)


# -- a database that is down ------------------------------------------------------------------


@pytest.mark.parametrize("failures", [2, 11])
def test_a_session_that_is_lost_costs_no_tick(using, monkeypatch, failures):
    calls = []

    def fails(model, alias, fields, tick):
        calls.append(tick)
        if len(calls) > failures:
            return real(model, alias, fields, tick)
        error = OperationalError("lost")
        error.__cause__ = lost_session()
        raise error

    real = creating.create
    monkeypatch.setattr(creating, "create", fails)
    if failures < 10:
        create("jobs.dayjob", {"key": "{tick:%d}"}, using)
        assert DayJob.objects.using(using).get().key == "31"
    else:
        with pytest.raises(OperationalError, match="lost"):
            create("jobs.dayjob", {"key": "{tick:%d}"}, using)
    assert calls == [NOON] * min(failures + 1, 11)


def test_a_retry_has_the_time_of_the_first_message(using, monkeypatch):
    kwargs = {"model": "jobs.dayjob", "fields": {"key": "{tick:%d}"}, "using": using}
    tasks.create.apply_async(kwargs=kwargs, headers={tasks.TICK: NOON.isoformat()})
    [(_, first)] = messages()
    lost = OperationalError("lost")
    lost.__cause__ = lost_session()
    monkeypatch.setattr(creating, "create", Mock(side_effect=lost))
    request = Context(first.headers, args=[], kwargs=kwargs, called_directly=False)
    tasks.create.request_stack.push(request)  # as a worker does
    try:
        with pytest.raises(Retry):
            tasks.create.run(**kwargs)
    finally:
        tasks.create.request_stack.pop()
    [(again, second)] = messages()
    assert again == kwargs and second.headers["retries"] == 1
    assert second.headers[tasks.TICK] == NOON.isoformat()


def lost_session():
    """Return a driver's error of a session that is lost; of SQLite's, of a lock."""
    error = Exception(2006, "gone")
    error.sqlstate, error.sqlite_errorcode = "57P01", 5
    return error


def test_a_table_that_is_not_there_is_no_reason_to_wait(using, monkeypatch):
    calls = []

    def fails(*arguments):
        calls.append(arguments)
        with connections[using].cursor() as cursor:
            cursor.execute("SELECT 1 FROM nowhere")

    monkeypatch.setattr(creating, "create", fails)
    with pytest.raises(Exception, match="nowhere"):
        create("jobs.job", {}, using)
    assert len(calls) == 1
