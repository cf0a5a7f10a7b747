"""Prometheus metrics: what real workers count, and what is to be seen of it."""

import datetime
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from celery import current_app
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from simpletask2_celery import metrics, signals
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.rows import claiming
from simpletask2_celery.running import executor
from simpletask2_celery.watching.figures import Counts, ModelFigures
from tests.support import pages
from tests.support.metrics import JOB, samples, scrape, value
from tests.support.project.jobs.models import ChannelJob, Job, Steps

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "server"])


@pytest.fixture
def connected():
    """Have this process count for as long as a test lasts."""
    metrics.connect()
    yield
    for name, signal in vars(signals).items():
        if isinstance(signal, signals.TaskSignal):
            for receiver in [entry[1]() for entry in signal.receivers]:
                signal.disconnect(receiver)
            assert not signal.receivers, name


def counted(name, **labels):
    return REGISTRY.get_sample_value(f"simpletask2_{name}", labels) or 0


# -- counting ----------------------------------------------------------------------------


def test_each_event_is_counted(using, connected):
    good = {"success": "true", **JOB}
    names = ("published_total", "started_total", "wait_seconds_count", "run_seconds_count")
    before = [counted(name, **JOB) for name in names]
    before_end = counted("finished_total", **good)
    row = Job.objects.using(using).create()
    executor.run(Job, using, row.pk)
    assert [counted(name, **JOB) for name in names] == [one + 1 for one in before]
    assert counted("finished_total", **good) == before_end + 1
    before = counted("reset_total", reason="operator", **JOB)
    row.reset()
    assert counted("reset_total", reason="operator", **JOB) == before + 1
    bad = {"success": "false", **JOB}
    before = counted("finished_total", **bad)
    with pytest.raises(DjangoSimpleTask2Error):
        executor.run(Job, using, Job.objects.using(using).create(what="fail").pk)
    assert counted("finished_total", **bad) == before + 1
    unknown = {"success": "unknown", **JOB}
    before = counted("finished_total", **unknown)
    Job.objects.using(using).create().done(force=True)
    assert counted("finished_total", **unknown) == before + 1


def test_steps_and_their_requests_are_timed_apart(using, connected, slow_site):
    step = {"model": "jobs.steps", "step": "1"}
    before = [counted(f"{what}_seconds_sum", **step) for what in ("step", "request")]
    row = Steps.objects.using(using).create(what="proxied", url=slow_site)
    executor.run(Steps, using, row.pk)
    after = [counted(f"{what}_seconds_sum", **step) for what in ("step", "request")]
    assert 0 < after[0] - before[0] < 1 <= after[1] - before[1]
    assert counted("request_seconds_count", **{**step, "step": "2"}) == 0
    assert counted("step_seconds_count", **{**step, "step": "4"}) > 0


def test_a_second_connection_counts_nothing_twice(using, connected):
    metrics.connect()
    before = counted("published_total", **JOB)
    Job.objects.using(using).create()
    assert counted("published_total", **JOB) == before + 1


def test_channels_without_number_share_one_series(using, connected, monkeypatch):
    monkeypatch.setattr(metrics, "_channels", {"default"})
    monkeypatch.setattr(metrics, "CHANNELS", 2)
    model = "jobs.channeljob"
    others = {"model": model, "channel": metrics.OTHERS}
    before = counted("published_total", **others)
    rows = [ChannelJob(topic=topic) for topic in ("mail", "a", "routed", "mail")]
    ChannelJob.objects.using(using).bulk_create(rows)
    ChannelJob.publish_many(ChannelJob.objects.using(using).all())
    assert counted("published_total", **others) == before + 2
    assert counted("published_total", model=model, channel="mail") >= 2


# -- real processes ----------------------------------------------------------------------


# -- what the rows are now ---------------------------------------------------------------


@BOTH
def test_rows_are_counted_at_each_scrape():
    model = "jobs.channeljob"
    mail, whole = (
        {"model": model, "channel": "mail"},
        {"model": model, "channel": metrics.ALL},
    )
    first, second = (ChannelJob.objects.create(topic="mail") for _ in range(2))
    ChannelJob.objects.using("server").create(topic="mail")  # all databases in one
    page = samples(scrape().text)
    assert value(page, "rows", status="ready", **mail) == 3
    executor.run(ChannelJob, "default", first.pk)
    claiming.claim(ChannelJob, "default", second.pk)
    page = samples(scrape().text)
    assert value(page, "rows", status="ready", **mail) == 1
    assert value(page, "rows", status="doing", **mail) == 1
    assert value(page, "rows", status="done", **whole) == 1
    assert value(page, "stale_rows", **mail) == value(page, "failed_rows", **whole) == 0
    late = timezone.now() - datetime.timedelta(seconds=100)
    ChannelJob.objects.filter(pk=second.pk).update(auto_reset_time=late)
    ChannelJob.objects.filter(pk=first.pk).update(success=False)
    ChannelJob.objects.using("server").update(add_time=late)
    page = samples(scrape().text)
    assert value(page, "stale_rows", **mail) == value(page, "failed_rows", **whole) == 1
    assert 100 <= value(page, "oldest_ready_seconds", **mail) < 200
    nothing = {"model": "jobs.job", "channel": metrics.ALL}
    assert value(page, "rows", status="ready", **nothing) == 0


@BOTH
def test_a_gauge_tells_of_queues_and_of_what_answers():
    ChannelJob.objects.create(topic="mail")
    page = samples(scrape().text)
    assert value(page, "queue_messages", channel="mail") == 1
    assert value(page, "queue_workers", channel="mail") == 0
    assert value(page, "broker_up") == 1 and value(page, "workers") is not None
    assert value(page, "rows_up", model="jobs.job") == 1


@BOTH
def test_workers_that_cannot_be_asked_have_no_sample(monkeypatch):
    ChannelJob.objects.create(topic="mail")
    monkeypatch.setitem(current_app.conf, "worker_enable_remote_control", False)
    page = samples(scrape().text)
    assert value(page, "queue_messages", channel="mail") == 1
    assert value(page, "queue_workers", channel="mail") is value(page, "workers") is None


def test_what_is_not_known_has_no_sample_and_channels_beyond_are_the_others():
    by_channel = [Counts("mail", ready=1), Counts(None, ready=2)]
    one = ModelFigures(Job, "default", Counts(None, ready=3, done=7), by_channel)
    now = SimpleNamespace(models=[one, replace(one, using="server")])
    assert metrics._counts(now, "ready") == {
        ("jobs.job", "mail"): 2,
        ("jobs.job", metrics.OTHERS): 4,
    }
    assert metrics._counts(now, "done") == {("jobs.job", metrics.ALL): 14}
    assert metrics._counts(now, "failed") == {}
    down = SimpleNamespace(models=[ModelFigures(Job, "default", problem="took too long")])
    assert metrics._counts(down, "ready") == {}


# -- the page ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "reader"),
    [
        ("", parse),
        ("text/plain;version=0.0.4", parse),
        ("application/openmetrics-text;version=1.0.0", parse_openmetrics),
    ],
)
@BOTH
def test_the_page_is_prometheus_own(connected, accept, reader):
    Job.objects.create()
    answer = scrape(accept=accept)
    names = {family.name for family in reader(answer.text)}
    assert {"simpletask2_published", "simpletask2_step_seconds"} <= names
    assert ("openmetrics" in accept) == ("openmetrics" in answer.headers["Content-Type"])


@BOTH
def test_names_follow_the_conventions(connected):
    row = Job.objects.create()
    executor.run(Job, "default", row.pk)
    for family in parse(scrape().text):
        if not family.name.startswith("simpletask2_"):
            continue
        assert re.fullmatch(r"simpletask2_[a-z_]+", family.name)
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert {s.name for s in family.samples} <= {f"{family.name}_total"}
        if family.type == "histogram":
            assert family.name.endswith("_seconds")


@BOTH
def test_the_page_is_read_only():
    assert Client().post("/metrics").status_code == 405


@BOTH
def test_the_page_has_no_content_of_a_row(connected):
    row = Job.objects.create(what="fail", note="a secret note")
    with pytest.raises(DjangoSimpleTask2Error):
        executor.run(Job, "default", row.pk)
    text = scrape().text
    assert "secret" not in text and "as told" not in text
    assert f"jobs.job:{row.pk}" not in text


@BOTH
def test_the_table_of_the_guide_is_what_there_is(connected, slow_site):
    row = Steps.objects.create(what="proxied", url=slow_site)
    executor.run(Steps, "default", row.pk)
    row.reset()
    found = {}
    for family in parse(scrape().text):
        if family.name.startswith("simpletask2_") and not family.name.endswith("_created"):
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = {n for s in family.samples for n in s.labels} - {"le"}
    assert pages.metrics() == found


# -- what is missing ---------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "missing"))
    with pytest.raises(ImproperlyConfigured, match="missing.*no folder"):
        metrics.connect()
    assert not signals.task_published.receivers
