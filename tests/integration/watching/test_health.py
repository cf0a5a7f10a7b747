"""Health and missing resets: what a probe sees, and what a worker does about it."""

import datetime
import time

import pytest
from celery import current_app
from django.db import OperationalError, connections
from django.utils import timezone

from simpletask2_celery import health
from simpletask2_celery.publishing import broker
from simpletask2_celery.recovery import auto_reset, hints
from simpletask2_celery.rows import at_once
from simpletask2_celery.watching import counts, figures
from tests.support import networks
from tests.support.fixtures import queue_name, queued
from tests.support.project.jobs.models import ChannelJob, ChildJob, DurableJob, Job

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "server"])
pytestmark = BOTH


def ago(**spans):
    return timezone.now() - datetime.timedelta(**spans)


def findings():
    return {finding.name: finding for finding in health.check(timeout=0.5)}


def test_nothing_runs():
    found = findings()
    assert {name: one.ok for name, one in found.items()} == {
        "database default": True,
        "database server": True,
        "broker": True,
        "workers": False,
        "queues": True,
        "oldest READY row": True,
        "rows past their lease": True,
        "last auto-reset": False,
    }
    assert found["oldest READY row"].value is None


def test_rows_that_wait_and_rows_past_their_lease():
    over = timezone.now() - datetime.timedelta(seconds=20)
    Job.objects.bulk_create([Job(), Job(status=20, auto_reset_time=over)])
    Job.objects.using("server").bulk_create([Job(status=20, auto_reset_time=over)])
    Job.objects.filter(status=10).update(add_time=over)
    found = findings()
    assert 20 <= found["oldest READY row"].value < 30
    assert found["rows past their lease"].value == 2


def test_an_heirs_row_is_counted_once():
    child = ChildJob.objects.create()
    over = timezone.now() - datetime.timedelta(seconds=20)
    Job.objects.filter(pk=child.pk).update(status=20, auto_reset_time=over)
    assert findings()["rows past their lease"].value == 1
    queued()


def test_rows_that_resets_ought_to_have_found():
    Job.objects.bulk_create([Job(status=20, auto_reset_time=ago(seconds=31))])  # 3 × 10 s
    found = findings()["rows past their lease"]
    assert (found.ok, found.value, found.text) == (
        False,
        1,
        "1; found by no reset: 1",
    )
    Job.objects.all().delete()
    Job.objects.bulk_create([Job(auto_reset_time=ago(minutes=49))])  # in a long queue
    assert findings()["oldest READY row"].ok
    Job.objects.using("server").bulk_create([Job(auto_reset_time=ago(minutes=51))])
    found = findings()["oldest READY row"]
    assert not found.ok and found.text.endswith("; past their time, and found by no reset: 1")


@pytest.mark.parametrize("alias", ["default", "server"])
def test_a_row_that_is_parked_for_next_week_is_no_reason_to_worry(alias, monkeypatch):
    monkeypatch.setattr(broker, "workers", lambda timeout: [broker.Worker("celery@here", [])])
    week = timezone.now() + datetime.timedelta(days=7)
    rows = DurableJob.objects.using(alias)
    # A time that no save has written leaves auto-reset's look as it was: past, here.
    rows.bulk_create([DurableJob(topic="mail", run_after=week, auto_reset_time=ago(days=1))])
    rows.update(add_time=ago(days=9))
    found = {one.name: one for one in health.check(0.5, max_wait=60)}
    assert found["queues"].ok and found["queues"].value == []
    assert found["oldest READY row"].ok and found["oldest READY row"].value is None
    rows.update(run_after=ago(seconds=400))
    found = {one.name: one for one in health.check(0.5, max_wait=60)}
    assert not found["queues"].ok and found["queues"].value == [queue_name("mail")]
    assert "past their time, and found by no reset: 1" in found["oldest READY row"].text
    assert 400 <= found["oldest READY row"].value < 430


def test_a_database_that_is_silent_holds_up_nobody(monkeypatch):
    """A firewall that drops what is sent: the client of the database waits on."""
    with networks.silent() as port:
        monkeypatch.setitem(connections.databases["server"], "HOST", "127.0.0.1")
        monkeypatch.setitem(connections.databases["server"], "PORT", port)
        began = time.monotonic()
        found = findings()
        assert time.monotonic() - began < 5
        shown = figures.read()
        assert time.monotonic() - began < 10
    silent = found["database server"]
    assert not silent.ok and silent.text == "does not answer"
    assert found["rows"].text == "not read: database server"
    assert found["database default"].ok
    problems = {one.using: one.problem for one in shown.models}
    assert problems == {"default": None, "server": "does not answer"}
    assert found["rows past their lease"].value == 0


def test_a_cache_and_a_broker_that_are_silent_hold_up_nobody(silent, settings):
    ChannelJob.objects.bulk_create([ChannelJob(topic="mail")])
    ChannelJob.objects.update(add_time=ago(days=2))
    caches = {"default": {**settings.CACHES["default"]}}
    caches["default"]["LOCATION"] = f"redis://127.0.0.1:{silent}/0"
    settings.CACHES = caches
    began = time.monotonic()
    found = findings()  # nobody remembers a worker
    assert time.monotonic() - began < 5
    assert not found["queues"].ok and found["queues"].value == [queue_name("mail")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(current_app.conf, "broker_write_url", f"redis://127.0.0.1:{silent}/0")
        began = time.monotonic()
        found = findings()
        assert time.monotonic() - began < 5
    assert not found["broker"].ok and found["queues"].ok
    assert found["queues"].text.startswith("not known")
    for thread in list(at_once._hung.values()):
        thread.join(10)


def test_a_table_that_cannot_be_read_is_named_and_the_others_are_counted(monkeypatch):
    Job.objects.bulk_create([Job()])
    own = counts.not_done

    def fails(model, alias):
        if alias == "server" and model is Job:
            raise OperationalError("as told")
        return own(model, alias)

    monkeypatch.setattr(counts, "not_done", fails)
    found = findings()
    assert not found["rows"].ok
    assert found["rows"].text == "not read: jobs.job in server (OperationalError)"
    assert found["oldest READY row"].value is not None


def test_workers_that_cannot_be_asked_are_not_known_and_no_failure(monkeypatch):
    monkeypatch.setitem(current_app.conf, "worker_enable_remote_control", False)
    ChannelJob.objects.bulk_create([ChannelJob(topic="mail")])
    ChannelJob.objects.update(add_time=ago(days=2))
    found = findings()
    assert found["workers"].ok and found["workers"].value is None
    assert "remote control is off" in found["workers"].text
    assert found["queues"].ok and found["queues"].value is None
    assert found["queues"].text.startswith("not known")


def test_rows_that_have_waited_for_longer_than_somebody_allows():
    later, now = (timezone.now() + datetime.timedelta(seconds=seconds) for seconds in (400, 299))
    Job.objects.bulk_create([Job(auto_reset_time=later)])  # a countdown of 100 s is not over
    Job.objects.update(add_time=ago(days=1))

    def oldest(max_wait):
        [found] = [one for one in health.check(0.1, max_wait) if one.name == "oldest READY row"]
        return found

    assert oldest(60).ok and oldest(60).value > 86000
    Job.objects.bulk_create([Job(auto_reset_time=now)])
    assert oldest(60).ok
    Job.objects.filter(auto_reset_time=now).update(add_time=ago(seconds=90))
    assert oldest(None).ok and oldest(120).ok
    assert not oldest(60).ok and "waited for more than 60 s" in oldest(60).text


def test_a_reset_that_has_not_run_for_three_intervals(monkeypatch):
    auto_reset.run()
    assert findings()["last auto-reset"].ok
    later = time.time() + 40
    monkeypatch.setattr(time, "time", lambda: later)
    found = findings()["last auto-reset"]
    assert not found.ok and 40 <= found.value < 45 and found.text.endswith(" s ago")


def test_without_a_redis_cache_djangos_own_serves(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    assert auto_reset.age() is None and not hints.is_shared()
    assert findings()["last auto-reset"].ok  # nobody can know
    auto_reset.run()
    assert auto_reset.age() < 5
    assert hints.be_first("asked-for", 60) and not hints.be_first("asked-for", 60)


@pytest.mark.parametrize(
    ("name", "value"), [("UNSERVED_TIMEOUT", "300"), ("PUBLISH_TO", "somewhere")]
)
def test_a_setting_of_the_wrong_type_is_a_line_and_no_error(settings, monkeypatch, name, value):
    monkeypatch.setattr(broker, "workers", lambda timeout: [broker.Worker("celery@here", [])])
    ChannelJob.objects.bulk_create([ChannelJob(topic="mail")])
    setattr(settings, f"DJANGO_SIMPLETASK2_{name}", value)
    found = findings()["queues"]
    assert not found.ok and found.text == "not read (ImproperlyConfigured)"
    assert name == "UNSERVED_TIMEOUT" or figures.read().served is None
