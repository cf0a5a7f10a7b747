"""From save() to the broker: what is sent, when, and where to."""

import datetime
import uuid

import pytest
from celery import current_app
from django.db import OperationalError, connections, transaction

from simpletask2_celery import tasks
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.publishing import producers, to_celery
from simpletask2_celery.recovery import backlog
from simpletask2_celery.rows import claiming
from tests.support.fixtures import close_breakers, messages, queued, rebuild_router
from tests.support.project.jobs.models import (
    ChannelJob,
    ChildJob,
    CodeJob,
    Job,
    PairJob,
    UuidJob,
)


def expected(row, key=None):
    using = {} if row._state.db == "default" else {"using": row._state.db}
    key = row.pk if key is None else key
    return {
        "app_label": "jobs",
        "model": type(row).__name__.lower(),
        "id": key,
        **using,
    }


def test_a_new_row_is_published_once_and_a_saved_one_not_again(using):
    row = Job.objects.using(using).create()
    assert queued() == [expected(row)]
    row.note = "changed"
    row.save()
    assert queued() == []


def test_every_kind_of_primary_key(using):
    key = uuid.uuid4()
    objects = UuidJob.objects.using(using)
    rows = [
        (objects.create(), None),
        (objects.create(id=key), str(key)),
        (CodeJob.objects.using(using).create(code="x"), "x"),
        (PairJob.objects.using(using).create(tenant=1, number=2), '["1", "2"]'),
        (ChildJob.objects.using(using).create(), None),
    ]
    wanted = [expected(row, text or row.pk) for row, text in rows]
    wanted[0]["id"] = str(rows[0][0].pk)
    assert queued() == wanted


def test_nothing_is_sent_before_the_commit_nor_after_a_rollback(using):
    with transaction.atomic(using=using):
        rows = [Job.objects.using(using).create() for _ in range(3)]
        assert queued() == []
    assert queued() == [expected(row) for row in rows]
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=using):
        Job.objects.using(using).create()
        raise ZeroDivisionError
    assert queued() == []


def test_publish_returns_the_row_and_sends_any_ready_row(using):
    [row] = Job.objects.using(using).bulk_create([Job()])
    row = Job.objects.using(using).get()
    assert queued() == []
    assert row.publish() is row
    assert row.push_to_mq() is row
    assert queued() == [expected(row)] * 2


def test_a_row_that_is_not_ready_is_not_sent_and_that_is_logged(using, caplog):
    row = Job.objects.using(using).create()
    row.start()
    queued()
    assert row.publish() is row
    assert queued() == []
    assert f"jobs.job:{row.pk} is Doing, not READY" in caplog.text


def test_options_reach_celery(using):
    row = Job.objects.using(using).create()
    queued()
    row.publish(countdown=40, priority=3, queue=f"{current_app.conf.task_default_queue}.a")
    [(kwargs, message)] = messages("a")
    assert kwargs == expected(row)
    assert message.headers["eta"]
    assert message.properties["priority"] == 3
    row.refresh_from_db()
    wait = row.auto_reset_time - datetime.datetime.now(datetime.UTC)
    assert wait.total_seconds() == pytest.approx(340, abs=10)
    eta = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=14)
    row.publish(eta=eta)
    [(_, message)] = messages()
    assert message.headers["eta"] == eta.isoformat()
    row.refresh_from_db()
    assert row.auto_reset_time == eta + datetime.timedelta(seconds=300)


def test_a_time_far_ahead_is_kept_by_the_row(using, monkeypatch):
    row = Job.objects.using(using).create()
    queued()
    eta = datetime.datetime(2130, 1, 1, tzinfo=datetime.UTC)
    row.publish(eta=eta)
    assert queued() == []
    row.refresh_from_db()
    assert row.auto_reset_time == eta
    assert Job.do_auto_reset() == 0
    # Due, while the queue is long: nobody presumes its message there.
    now = datetime.datetime.now(datetime.UTC)
    Job.objects.using(using).filter(pk=row.pk).update(auto_reset_time=now, start_time=now)
    monkeypatch.setattr(backlog, "_messages_of", lambda channel: 1000.0)
    assert Job.do_auto_reset() == 1
    assert queued() == [expected(row)]
    row.refresh_from_db()
    assert row.start_time is None


@pytest.mark.parametrize(
    ("options", "error", "names"),
    [
        ({"countdown": "5"}, TypeError, "countdown"),
        ({"countdown": -1}, ValueError, "countdown"),
        ({"countdown": float("nan")}, ValueError, "countdown"),
        ({"eta": "tomorrow"}, TypeError, "eta"),
        ({"countdown": 1, "eta": datetime.datetime.now()}, ValueError, "not both"),
        ({"priority": "high"}, TypeError, "priority"),
        ({"queue": ""}, TypeError, "queue"),
    ],
)
def test_bad_options_are_refused_at_once(db, options, error, names):
    row = Job.objects.create()
    with pytest.raises(error, match=names):
        row.publish(**options)


def test_an_unsaved_row_cannot_be_published(db):
    with pytest.raises(ValueError, match="save it"):
        Job().publish()
    with pytest.raises(ValueError, match="save it"):
        UuidJob().publish()
    with pytest.raises(ValueError, match="save it"):
        Job.publish_many([Job()])


def test_publish_many(using):
    objects = Job.objects.using(using)
    objects.bulk_create([Job(status=20)] + [Job() for _ in range(1200)])
    assert Job.publish_many(objects.all()) == 1200
    assert {m["id"] for m in queued()} == set(
        objects.filter(status=10).values_list("pk", flat=True)
    )
    assert Job.publish_many(list(objects.order_by("pk")[:5])) == 4
    assert len(queued()) == 4
    assert Job.publish_many([]) == 0
    with pytest.raises(TypeError, match="publish_many"):
        Job.publish_many([CodeJob(code="x")])
    with pytest.raises(TypeError, match="publish_many"):
        Job.publish_many(CodeJob.objects.all())


def test_publish_many_waits_for_the_commit_too(using):
    with transaction.atomic(using=using):
        Job.objects.using(using).bulk_create([Job(), Job()])
        assert Job.publish_many(Job.objects.using(using).all()) == 2
        assert queued() == []
    assert len(queued()) == 2


def test_a_channel_goes_to_the_queue_of_the_template(using):
    row = ChannelJob.objects.using(using).create(topic="mail")
    assert queued() == []
    assert queued("mail") == [expected(row)]
    row = ChannelJob.objects.using(using).create()
    assert queued() == [expected(row)]


def test_the_users_routes_come_first(using):
    run = current_app.conf.task_default_queue
    routes = current_app.conf.task_routes
    current_app.conf.task_routes = {"simpletask2_celery.*": {"queue": f"{run}.routed"}}
    rebuild_router()
    try:
        ChannelJob.objects.using(using).create(topic="mail")
        Job.objects.using(using).create()
        assert len(queued("routed")) == 2
        assert queued() == queued("mail") == []
    finally:
        current_app.conf.task_routes = routes
        rebuild_router()


def test_eager_mode_runs_the_row_in_save(using):
    current_app.conf.task_always_eager = True
    try:
        row = Job.objects.using(using).create()
        failing = Job.objects.using(using).create(what="fail")
    finally:
        current_app.conf.task_always_eager = False
    row.refresh_from_db()
    assert (row.status, row.success) == (Job.DONE, True)
    failing.refresh_from_db()
    assert (failing.status, failing.success) == (Job.DONE, False)


def test_after_a_failure_nothing_is_tried_for_a_while(using, caplog):
    to_celery.breaker.open()
    row = Job.objects.using(using).create()
    assert row.pk
    close_breakers()
    assert queued() == []


def test_a_connection_made_before_a_fork_is_not_used_after_it():
    import os

    with producers.lent(producers.connected(5)):
        pass  # and is kept
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            before = [one for idle in producers._idle.values() for one in idle._producers]
            os.write(write, b"fresh" if before and producers.kept() is None else b"same")
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"fresh"
    os.close(read)


def test_a_message_may_carry_many_rows(using):
    objects = Job.objects.using(using)
    objects.bulk_create([Job() for _ in range(7)])
    keys = list(objects.order_by("pk").values_list("pk", flat=True))
    assert Job.publish_many(objects.order_by("pk"), chunk=3) == 7
    sent = queued()
    assert [message["ids"] for message in sent] == [keys[:3], keys[3:6], keys[6:]]
    wanted = expected(objects.first())
    del wanted["id"]
    assert all({**m, "ids": 0} == {**wanted, "ids": 0} for m in sent)


def test_rows_of_other_channels_are_in_other_messages(using):
    objects = ChannelJob.objects.using(using)
    objects.bulk_create([ChannelJob(topic=topic) for topic in ("a", "mail") * 3])
    assert ChannelJob.publish_many(objects.all(), chunk=2) == 6
    assert [len(m["ids"]) for m in queued("a")] == [2, 1]
    assert [len(m["ids"]) for m in queued("mail")] == [2, 1]


def test_each_row_of_a_message_runs_on_its_own_account(using, caplog):
    objects = Job.objects.using(using)
    ready, failing, done, last = (
        objects.create(what=what) for what in ("nothing", "fail", "nothing", "nothing")
    )
    objects.filter(pk=done.pk).update(status=30)
    queued()
    message = {**expected(ready), "ids": [ready.pk, failing.pk, done.pk, "?", last.pk]}
    with pytest.raises(DjangoSimpleTask2Error) as raised:
        tasks.do_task(**message)
    assert raised.value.code == 2910009
    rows = [(row.status, row.success) for row in objects.order_by("pk")]
    assert rows == [(30, True), (30, False), (30, None), (30, True)]
    assert f"{failing.get_task_info()}" in caplog.text  # and what each of many was
    again = tasks.do_task(**message)
    assert again["result"] == {"rows": 5, "done": 0}


@pytest.mark.parametrize(
    ("chunk", "error", "text"),
    [
        (0, ValueError, "1 to 1000"),
        (1001, ValueError, "1 to 1000"),
        (True, TypeError, "number of rows"),
        ("50", TypeError, "number of rows"),
    ],
)
def test_a_chunk_that_is_none(db, chunk, error, text):
    with pytest.raises(error, match=text):
        Job.publish_many([], chunk=chunk)


def test_a_limited_message_carries_one_row(db, settings):
    settings.DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = True
    with pytest.raises(ValueError, match="ENFORCE_TIMEOUT"):
        Job.publish_many([], chunk=2)
    assert Job.publish_many([], chunk=1) == 0


def test_saves_of_a_transaction_share_a_hook_and_the_fate_of_their_savepoint(using):
    connection = connections[using]
    objects = Job.objects.using(using)
    with transaction.atomic(using=using):
        kept = [objects.create() for _ in range(5)]
        assert len(connection.run_on_commit) == 1
        with pytest.raises(ZeroDivisionError), transaction.atomic(using=using):
            objects.create()
            1 / 0  # noqa: B018
        with transaction.atomic(using=using):
            kept += [objects.create() for _ in range(5)]
        kept += [objects.create() for _ in range(5)]
        assert len(connection.run_on_commit) == 3
        delayed = objects.create()
        delayed.publish(priority=3)  # in another way than the others
    assert [m["id"] for m in queued()] == [r.pk for r in [*kept, delayed, delayed]]


def test_each_capture_of_a_test_gets_its_hooks(db, django_capture_on_commit_callbacks):
    Job.objects.create()
    for number in range(1, 3):
        with django_capture_on_commit_callbacks(execute=True) as hooks:
            Job.objects.create()
            Job.objects.create()
        assert len(hooks) == 2
        assert len(queued()) == 2, number


def test_a_row_that_the_database_fails_does_not_stop_the_others(using, monkeypatch):
    objects = Job.objects.using(using)
    rows = [objects.create() for _ in range(3)]
    queued()
    claim = claiming.claim

    def failing(model, database, pk, force=False):
        if pk == rows[0].pk:
            raise OperationalError("gone")
        return claim(model, database, pk, force)

    monkeypatch.setattr(claiming, "claim", failing)
    with pytest.raises(OperationalError):
        tasks.do_task(app_label="jobs", model="job", using=using, ids=[r.pk for r in rows])
    assert [row.status for row in objects.order_by("pk")] == [10, 30, 30]


@pytest.mark.parametrize("chunk", [1, 2])
def test_workers_and_monitors_show_the_models_name(using, chunk):
    rows = Job.objects.using(using).bulk_create([Job(), Job()])
    Job.publish_many(Job.objects.using(using).filter(pk__in=[row.pk for row in rows]), chunk)
    rows[0].publish(countdown=5)  # which Celery makes, and no copy
    sent = [message.headers for _, message in messages()]
    assert [headers["shadow"] for headers in sent] == ["jobs.job"] * (4 - chunk)
    assert {headers["task"] for headers in sent} == {"simpletask2_celery.do_task"}
