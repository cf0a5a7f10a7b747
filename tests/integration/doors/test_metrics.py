"""Prometheus metrics: what real workers count, and what is to be seen of it."""

import datetime
import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from celery import current_app
from celery.exceptions import Retry
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY, Counter, generate_latest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from simpletask2_celery import metrics, signals
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.publishing import broker
from simpletask2_celery.recovery import auto_reset
from simpletask2_celery.rows import at_once, claiming, states
from simpletask2_celery.running import executor
from simpletask2_celery.watching import figures
from simpletask2_celery.watching.figures import Counts, ModelFigures
from tests.support import networks, pages
from tests.support.clock import clock
from tests.support.fixtures import queued
from tests.support.metrics import JOB, samples, scrape, value
from tests.support.project.jobs.models import ChannelJob, DurableJob, Job, Steps
from tests.support.rows import ago, make

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


def test_retries_and_cancelled_rows_are_counted(using, connected, handler):
    labels = {"model": "jobs.durablejob", "channel": "default"}
    names = ("task_retries_total", "cancelled_total")
    before = [counted(name, **labels) for name in names]
    bad = counted("finished_total", success="false", **labels)
    row = DurableJob.objects.using(using).create(what=handler(lambda row, payload: int("x")))
    with pytest.raises(Retry):
        executor.run(DurableJob, using, row.pk)
    assert counted("task_retries_total", **labels) == before[0] + 1
    assert counted("finished_total", success="false", **labels) == bad
    assert row.cancel()
    assert [counted(name, **labels) for name in names] == [one + 1 for one in before]
    assert counted("finished_total", success="false", **labels) == bad + 1


def test_steps_and_their_requests_are_timed_apart(using, connected, slow_site):
    step = {"model": "jobs.steps", "step": "1"}
    before = [counted(f"{what}_seconds_sum", **step) for what in ("step", "request")]
    row = Steps.objects.using(using).create(what="proxied", url=slow_site)
    executor.run(Steps, using, row.pk)
    after = [counted(f"{what}_seconds_sum", **step) for what in ("step", "request")]
    assert 0 < after[0] - before[0] < 1 <= after[1] - before[1]
    assert counted("request_seconds_count", **{**step, "step": "2"}) == 0
    assert counted("step_seconds_count", **{**step, "step": "4"}) > 0


def test_requests_are_counted_by_their_outcome(using, connected, site):
    about = {"model": "jobs.steps", "channel": "default"}

    def now():
        name = "proxy_requests_total"
        return [counted(name, outcome=outcome, **about) for outcome in ("answer", "error")]

    before = now()
    for url in (f"http://127.0.0.1:{site.server_port}/", "http://127.0.0.1:1/", "ftp://a/"):
        row = Steps.objects.using(using).create(what="proxied", url=url)
        executor.run(Steps, using, row.pk)
    assert now() == [before[0] + 1, before[1] + 2]


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


def test_a_wait_is_all_the_time_since_the_row_was_added(using, connected):
    before = counted("wait_seconds_sum", **JOB)
    row = Job.objects.using(using).create()
    Job.objects.using(using).filter(pk=row.pk).update(add_time=ago(100))
    executor.run(Job, using, row.pk)
    assert 100 <= counted("wait_seconds_sum", **JOB) - before < 110
    row.reset()
    executor.run(Job, using, row.pk)
    assert 200 <= counted("wait_seconds_sum", **JOB) - before < 220


def test_a_run_is_timed_from_its_claim_to_its_end(using, connected, handler):
    what = handler(lambda row, payload: time.sleep(0.3))
    row = Job.objects.using(using).create(what=what)
    Job.objects.using(using).filter(pk=row.pk).update(add_time=ago(100))
    before = counted("run_seconds_sum", **JOB)
    executor.run(Job, using, row.pk)
    assert 0.3 <= counted("run_seconds_sum", **JOB) - before < 5


# -- what the rows are now ---------------------------------------------------------------


@BOTH
def test_durable_rows_that_are_tried_again_or_wait_are_counted_at_each_scrape():
    make("default", 2, DurableJob, attempts=1)
    make("server", 1, DurableJob, run_after=ago(-86400))
    make("default", 1)
    queued()
    labels = {"model": "jobs.durablejob", "channel": "default"}
    page = samples(scrape().text)
    assert value(page, "rows", status="ready", **labels) == 3
    assert value(page, "retrying_rows", **labels) == 2
    assert value(page, "scheduled_rows", **labels) == 1
    assert value(page, "retrying_rows", **JOB) is None  # of a model that does not remember


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


@BOTH
def test_failed_rows_are_stopped_ones_too_and_a_countdown_is_a_wait():
    stopped, later = (ChannelJob.objects.create(topic="mail") for _ in range(2))
    ChannelJob.objects.filter(pk=stopped.pk).update(**states.stop(timezone.now()))
    later.publish(countdown=3600)
    ChannelJob.objects.filter(pk=later.pk).update(add_time=ago(100))
    page = samples(scrape().text)
    labels = {"model": "jobs.channeljob"}
    assert value(page, "failed_rows", channel=metrics.ALL, **labels) == 1
    assert 100 <= value(page, "oldest_ready_seconds", channel="mail", **labels) < 110


@BOTH
def test_rows_that_could_not_be_counted_are_told_of_and_no_number(monkeypatch):
    Job.objects.create()
    monkeypatch.setattr(figures, "ALL", -1)  # no time for any table
    page = samples(scrape().text)
    assert value(page, "rows_up", model="jobs.job") == 0
    assert "simpletask2_rows" not in page and "simpletask2_stale_rows" not in page


@BOTH
def test_the_last_reset_is_told_of():
    auto_reset.run()
    assert 0 <= value(samples(scrape().text), "last_reset_seconds") < 5


@BOTH
def test_ten_channels_of_a_model_have_a_label_each(monkeypatch):
    monkeypatch.setattr(metrics, "_channels", set())
    rows = [ChannelJob(topic=f"c{n}") for n in range(13) for _ in range(n + 1)]
    ChannelJob.objects.bulk_create(rows)
    page = samples(scrape().text)
    ready = {"model": "jobs.channeljob", "status": "ready"}
    shown = [value(page, "rows", channel=f"c{n}", **ready) for n in range(13)]
    assert shown == [None] * 3 + list(range(4, 14))
    assert value(page, "rows", channel=metrics.OTHERS, **ready) == 1 + 2 + 3
    assert value(page, "queue_workers", channel="c0") == 0  # for its rows wait


@BOTH
def test_a_scrape_takes_four_seconds_at_most_whatever_is_silent():
    Job.objects.create()
    kept = connections["server"]
    with networks.silent() as port, pytest.MonkeyPatch.context() as patch:
        there = {**connections.settings["server"], "HOST": "127.0.0.1", "PORT": port}
        patch.setitem(connections.settings, "server", there)
        patch.setattr(current_app.conf, "broker_write_url", f"redis://127.0.0.1:{port}/0")
        del connections["server"]  # this thread is not connected to it
        try:
            began = clock()
            page = samples(scrape().text)
            seconds = clock() - began
        finally:
            connections["server"] = kept
    for thread in list(at_once._hung.values()):
        thread.join(10)
    assert seconds < 4.5  # half a second for a busy machine
    assert value(page, "broker_up") == 0 and value(page, "rows_up", model="jobs.job") == 0


@BOTH
def test_workers_have_half_a_second_to_answer(monkeypatch):
    asked = []
    monkeypatch.setattr(broker, "workers", asked.append)
    scrape()
    assert asked == [0.5]


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
def test_the_page_has_the_projects_own_metrics_and_the_process():
    own = Counter("jobs_own", "A metric of the project's.")
    own.inc(3)
    try:
        page = samples(scrape().text)
    finally:
        REGISTRY.unregister(own)
    assert page["jobs_own_total"] == {frozenset(): 3}
    assert page["process_resident_memory_bytes"]


@BOTH
def test_buckets_reach_from_5_ms_to_an_hour(connected):
    executor.run(Job, "default", Job.objects.create().pk)
    page = samples(scrape().text)
    for name in ("wait", "run", "step"):
        series = page[f"simpletask2_{name}_seconds_bucket"]
        ends = sorted({float(dict(labels)["le"]) for labels in series})
        assert (ends[0], ends[-2], ends[-1]) == (0.005, 3600, float("inf"))


def test_the_registry_asks_no_database(connected):
    """This test may not ask one: a worker shows the registry from a thread."""
    assert b"simpletask2_published_total" in generate_latest(metrics.registry())


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
def test_the_table_of_the_guide_is_what_there_is(connected, slow_site, handler):
    row = Steps.objects.create(what="proxied", url=slow_site)
    executor.run(Steps, "default", row.pk)
    row.reset()
    durable = DurableJob.objects.create(what=handler(lambda row, payload: int("x")))
    with pytest.raises(Retry):
        executor.run(DurableJob, "default", durable.pk)
    assert durable.cancel()
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
