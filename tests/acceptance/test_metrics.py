"""Metrics of real workers, whose processes count together."""

import os
import subprocess
import sys
from urllib.request import urlopen

import pytest

from tests.support.fixtures import ROOT, environ, is_ready, wait_until
from tests.support.metrics import JOB, samples, scrape, value
from tests.support.project.jobs.models import Job
from tests.support.services import free_port

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "server"])


@pytest.fixture
def folder(tmp_path):
    """A folder that processes share to count together."""
    path = tmp_path / "metrics"
    path.mkdir()
    return str(path)


def all_done(model=Job):
    return lambda: not model.objects.exclude(status=model.DONE).exists()


@BOTH
def test_what_the_children_of_a_worker_count_is_seen(worker, child, folder, monkeypatch):
    shared = {"PROMETHEUS_MULTIPROC_DIR": folder}
    port = free_port()
    process = worker(CHILD_METRICS=str(port), **shared)
    rows = child("save", "default", 20, CHILD_METRICS="0", **shared).read()["rows"]
    Job.objects.create(what="fail"), Job.objects.create(what="die_once")
    wait_until(all_done(), what=process.log)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", folder)

    def page_of(text):
        page = samples(text)
        done = value(page, "finished_total", success="true", **JOB)
        return page if done == len(rows) + 1 else None

    url = f"http://127.0.0.1:{port}/"
    by_worker = wait_until(lambda: page_of(urlopen(url).read().decode()))
    by_web = wait_until(lambda: page_of(scrape().text))
    for page in (by_worker, by_web):
        assert page["jobs_own_total"] == {frozenset(): 2}  # a metric of the project's
        assert "process_resident_memory_bytes" not in page
        assert value(page, "published_total", **JOB) == len(rows) + 1  # one again
        assert value(page, "started_total", **JOB) == len(rows) + 3
        assert value(page, "finished_total", success="false", **JOB) == 1
        assert value(page, "reset_total", reason="run_lost", **JOB) == 1
        assert value(page, "run_seconds_count", **JOB) == len(rows) + 2
    processes = {name.rpartition("_")[2] for name in os.listdir(folder)}
    assert len(processes) >= 3  # of the web process, and of the worker's
    assert "is not set" not in process.log.read_text()


@BOTH
@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_a_worker_of_one_process_needs_no_folder(worker, pool):
    port = free_port()
    process = worker("-P", pool, CHILD_METRICS=str(port))
    Job.objects.create()
    wait_until(all_done(), what=process.log)

    def is_counted():
        page = samples(urlopen(f"http://127.0.0.1:{port}/").read().decode())
        return value(page, "finished_total", success="true", **JOB) == 1

    wait_until(is_counted)
    wait_until(lambda: value(samples(scrape().text), "workers"))
    assert "is not set" not in process.log.read_text()


@BOTH
def test_a_worker_of_processes_without_a_folder_says_so(worker):
    process = worker(CHILD_METRICS=str(free_port()))
    wait_until(is_ready(process), what=process.log)
    text = "PROMETHEUS_MULTIPROC_DIR is not set"
    wait_until(lambda: text in process.log.read_text(), 10)


@BOTH
def test_a_broker_that_is_down_is_shown_as_down(child):
    found = child("scrape", CHILD_BROKER_URL="redis://127.0.0.1:1/0").read()
    page = samples(found["page"])
    assert value(page, "broker_up") == 0 and value(page, "rows_up", model="jobs.job") == 1
    assert "simpletask2_workers" not in page and "simpletask2_queue_messages" not in page
    assert found["seconds"] < 6


def test_without_the_extra_the_error_names_it():
    program = (
        "import sys; sys.modules['prometheus_client'] = None; import simpletask2_celery.metrics"
    )
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert out.returncode == 1
    last = out.stderr.strip().splitlines()[-1]
    assert "pip install 'simpletask2-celery[metrics]'" in last
