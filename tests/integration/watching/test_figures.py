"""The figures of dashboard and status command: what they count, and that they come."""

import datetime
import socket
import threading
import time

import pytest
from celery import current_app
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from simpletask2_celery.rows import at_once
from simpletask2_celery.running import executor
from simpletask2_celery.watching import counts, figures, history, limits
from simpletask2_celery.watching.limits import TookTooLong, limited
from tests.support.clock import clock
from tests.support.fixtures import queued
from tests.support.project.jobs.models import ChannelJob, ChildJob, DurableJob, Job
from tests.support.rows import DOING, DONE, READY, ago, make


def of(model, using):
    [found] = [one for one in figures.read([model]).models if one.using == using]
    assert found.problem is None
    return found


def test_rows_are_counted_by_what_they_are(using):
    make(using, 3, status=READY, add_time=ago(100))
    make(using, 2, status=READY, add_time=ago(50), auto_reset_time=ago(1))
    make(using, 1, status=DOING, start_time=ago(9), auto_reset_time=ago(-60))
    make(using, 2, status=DOING, start_time=ago(9), auto_reset_time=ago(1))
    make(using, 4, status=DONE, success=True, done_time=ago(9))
    make(using, 1, status=DONE, success=False, done_time=ago(9))
    total = of(Job, using).total
    numbers = (total.ready, total.doing, total.stale, total.done, total.failed)
    assert numbers == (5, 3, 2, 5, 1)
    assert total.oldest_ready_seconds == pytest.approx(100, abs=5)


def test_channels_are_told_apart_and_many_are_summed(using, monkeypatch):
    monkeypatch.setattr(counts, "TOP", 2)
    for topic, count in (("mail", 3), ("", 2), ("a", 1), ("b", 1)):
        make(using, count, ChannelJob, {"topic": topic})
    queued("mail")
    found = of(ChannelJob, using)
    channels = [(one.channel, one.ready) for one in found.channels]
    assert channels == [("mail", 3), ("default", 2), (None, 2)]
    assert found.total.ready == 7


def test_durable_rows_that_are_tried_again_or_wait_for_their_time_are_counted(using):
    day = {"add_time": ago(86400), "auto_reset_time": ago(-300)}
    make(using, 2, DurableJob, attempts=1, run_after=ago(-60), **day)
    make(using, 1, DurableJob, attempts=2, run_after=ago(20), **day)
    make(using, 3, DurableJob, run_after=ago(-7 * 86400), **day)
    make(using, 1, DurableJob, run_after=ago(10), **day)
    make(using, 1, DurableJob, status=DOING, attempts=1, run_after=ago(-60), **day)
    make(using, 1, DurableJob, status=DONE, attempts=4, success=False, done_time=ago(9))
    queued()
    total = of(DurableJob, using).total
    assert (total.ready, total.retrying, total.scheduled, total.waiting) == (7, 3, 3, 2)
    for age in (total.oldest_ready_seconds, total.oldest_waiting_seconds):
        assert age == pytest.approx(20, abs=9)  # since it was due, and not since it was added
    assert (total.overdue, total.lost) == (0, 0)
    assert of(Job, using).total.retrying == 0


def test_rows_of_a_durable_model_that_all_wait_for_their_time_have_no_age(using):
    make(using, 2, DurableJob, run_after=ago(-60), add_time=ago(86400), auto_reset_time=ago(-60))
    queued()
    total = of(DurableJob, using).total
    assert (total.waiting, total.oldest_ready_seconds, total.oldest_waiting_seconds) == (
        *(0, None, None),
    )


def test_heirs_are_counted_for_themselves(using):
    make(using, 2, ChildJob)
    make(using, 1)
    assert of(Job, using).total.ready == 1
    assert of(ChildJob, using).total.ready == 2


def test_what_has_ended_is_in_its_minute(using):
    end = ago(90)
    make(using, 2, status=DONE, success=True, start_time=ago(95), done_time=end)
    make(using, 1, status=DONE, success=False, start_time=ago(95), done_time=end)
    make(using, 1, status=DONE, success=True, start_time=ago(7205), done_time=ago(7200))
    make(using, 1, status=DONE, success=True, start_time=ago(90000), done_time=ago(90000))
    found = of(Job, using)
    assert sum(b.done for b in found.hour) == 3 and len(found.hour) == 60
    assert sum(b.failed for b in found.hour) == 1
    [bucket] = [b for b in found.hour if b.done]
    assert bucket.start <= end < bucket.start + datetime.timedelta(minutes=1)
    assert sum(b.done for b in found.day) == 4 and len(found.day) == 48
    assert found.newest is None


def test_percentiles_are_of_the_newest_runs(using):
    for number in range(1, 21):
        start = ago(100)
        end = start + datetime.timedelta(seconds=number)
        added = start - datetime.timedelta(seconds=2 * number)
        values = {"add_time": added, "start_time": start, "done_time": end}
        make(using, status=DONE, success=True, **values)
    times = of(Job, using).times
    assert times.rows == 20
    assert (times.run_p50, times.run_p95) == (pytest.approx(10), pytest.approx(19))
    assert (times.wait_p50, times.wait_p95) == (pytest.approx(20), pytest.approx(38))


def test_a_large_table_is_estimated_and_its_newest_rows_stand_for_all(using, monkeypatch):
    make(using, 30, status=DONE, success=True, start_time=ago(9), done_time=ago(5))
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute("ANALYZE jobs_job")
    elif connections[using].vendor == "mysql":
        with connections[using].cursor() as cursor:
            cursor.execute("ANALYZE TABLE jobs_job")
            cursor.fetchall()
    monkeypatch.setattr(counts, "EXACT", 10)
    monkeypatch.setattr(history, "NEWEST", 20)
    found = of(Job, using)
    assert found.total.is_estimate and found.total.failed is None
    assert found.total.done == pytest.approx(30, abs=5)
    assert found.newest == 20 and sum(b.done for b in found.hour) == 20


@pytest.mark.parametrize("has_index", [False, True])
def test_of_a_large_table_the_failed_rows_are_counted_by_an_index_alone(
    using, monkeypatch, has_index
):
    make(using, 3, status=DONE, success=False, done_time=ago(5))
    indexes = [Job.history_index("jobs_job")] if has_index else []
    monkeypatch.setattr(Job._meta, "indexes", indexes)
    monkeypatch.setattr(counts, "EXACT", 1)
    monkeypatch.setattr(counts, "estimate", lambda model, using: 3)
    total = of(Job, using).total
    assert total.is_estimate and total.failed == (3 if has_index else None)


def test_a_read_that_takes_too_long_is_stopped(using):
    slow = {
        "postgresql": "SELECT pg_sleep(5)",
        "mysql": "SELECT SLEEP(5) FROM jobs_job",
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) "
        "SELECT count(*) FROM n",
    }
    make(using)
    began = clock()
    if connections[using].vendor == "mysql":
        pytest.skip("MariaDB's SLEEP() ends early without an error")
    with pytest.raises(TookTooLong), limited(using, 0.1):
        with connections[using].cursor() as cursor:
            cursor.execute(slow[connections[using].vendor])
    assert clock() - began < 2
    assert Job.objects.using(using).count() == 1  # the connection is as it was


def test_a_table_that_takes_too_long_is_said_and_the_others_come(using, monkeypatch):
    make(using)
    monkeypatch.setattr(figures, "ALL", -1)
    [found] = [one for one in figures.read([Job]).models if one.using == using]
    assert found.problem == "took too long" and found.total is None


def test_what_takes_too_long_does_not_take_the_next_ones_along(using, monkeypatch):
    def slow(*arguments):
        raise TookTooLong

    make(using, status=DONE, success=True, start_time=ago(9), done_time=ago(5))
    monkeypatch.setattr(counts, "not_done", slow)
    [found] = [one for one in figures.read([Job]).models if one.using == using]
    assert found.problem == "took too long" and found.total is None
    assert found.times.rows == sum(one.done for one in found.hour) == 1


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_a_silent_database_holds_nothing_up(silent, monkeypatch):
    make("default")
    address = {"HOST": "127.0.0.1", "PORT": silent}
    there = {**connections.settings["server"], **address}
    monkeypatch.setitem(connections.settings, "server", there)
    kept = connections["server"]
    try:
        for most in (figures.ALL + figures.LIMIT, 0):  # then nobody waits for it again
            del connections["server"]  # this thread is not connected to it
            began = clock()
            found = {one.using: one for one in figures.read([Job]).models}
            assert clock() - began < most + figures.PING + 1
            assert found["server"].problem == "does not answer"
            assert found["default"].total.ready == 1
    finally:
        connections["server"] = kept


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_a_database_is_not_taken_for_another_that_hangs_under_its_name(monkeypatch):
    over = threading.Event()
    hangs = threading.Thread(target=over.wait)  # a broker's, say, and the alias is "broker"
    hangs.start()
    monkeypatch.setitem(at_once._hung, "server", hangs)
    monkeypatch.setattr(figures, "LIMIT", 15.0)  # seconds: a busy machine is not silent
    try:
        assert of(Job, "server").total is not None
    finally:
        over.set()
        hangs.join()


def test_a_probe_asks_a_table_once_and_for_no_row_that_is_done(using):
    make(using, 2, status=READY, add_time=ago(50))
    make(using, 1, status=DONE, success=False, done_time=ago(9))
    with CaptureQueriesContext(connections[using]) as queries:
        found = figures.of_table(Job, using, time.monotonic() + 9, 9, figures.Depth.TO_DO)
    assert (found.total.ready, found.total.done) == (2, None)
    [query] = [query["sql"] for query in queries if "jobs_job" in query["sql"]]
    assert '"status" < 30' in query.replace("`", '"') and found.channels[0].channel == "default"


@pytest.mark.django_db(databases=["default", "server"])
def test_without_history_only_the_counts_are_read():
    found = figures.read([Job], history=False).models[0]
    assert found.total is not None and found.hour is found.day is found.times is None


def test_a_moment_is_in_the_span_that_it_begins(using):
    begin = ago(3000).replace(second=0, microsecond=0)
    ends = {begin + datetime.timedelta(minutes=n): n for n in range(40)}
    for end, count in ends.items():
        last = end + datetime.timedelta(microseconds=59_999_000)
        values = {"status": DONE, "start_time": end, "success": count % 2 == 0}
        make(using, 1, done_time=end, **values)
        make(using, 1, done_time=last, **values)
    found = {bucket.start: bucket for bucket in of(Job, using).hour}
    assert all(found[end].done == 2 for end in ends)
    assert all(found[end].failed == (n % 2) * 2 for end, n in ends.items())


def test_a_channel_that_is_no_column_is_not_called_default(using, monkeypatch):
    monkeypatch.setattr(Job, "channel_field", "what_it_is", raising=False)
    make(using, 2)
    [channel] = of(Job, using).channels
    assert (channel.channel, channel.ready) == (None, 2)


@pytest.mark.django_db(databases=["default", "server"])
@pytest.mark.parametrize("how", ["refuses", "is silent"])
def test_a_broker_that_is_down_is_said_in_time(how):
    with socket.socket() as silent, pytest.MonkeyPatch.context() as patch:
        silent.bind(("127.0.0.1", 0))
        if how == "is silent":
            silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        patch.setattr(current_app.conf, "broker_write_url", url)
        began = clock()
        found = figures.read([])
        assert clock() - began < figures.BROKER + 1
        assert found.broker and found.workers is None
        for thread in list(at_once._hung.values()):
            thread.join(10)


@pytest.mark.django_db(databases=["default", "server"])
def test_the_queues_are_those_of_the_channels_that_have_rows(transactional_db):
    ChannelJob.objects.create(topic="mail")
    found = figures.read([ChannelJob])
    assert found.queues == {"default": 0, "mail": 1}
    assert found.broker is None and found.workers == []
    queued("mail")


def test_limits_know_the_databases_of_the_tests(using):
    assert connections[using].vendor in limits._LIMITS


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_history_is_read_without_time_zones(settings):
    settings.USE_TZ = False
    row = Job.objects.create()
    executor.run(Job, "default", row.pk)
    [one] = [one for one in figures.read([Job]).models if one.using == "default"]
    assert one.problem is None and sum(bucket.done for bucket in one.day) == 1
    assert timezone.is_naive(one.hour[0].start)
