"""Egress workers: proxy steps whose requests another machine makes, which has no Django."""

import pytest

from tests.support import ALIASES
from tests.support.egress import publish
from tests.support.fixtures import is_ready, wait_until
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
    wait_until(done(*rows), 25, (own.log, out.log))
    assert all(row.success and row.note == "1|None;2|200;3|None;4|None;" for row in rows)
    assert len(site.seen) == ROWS
    log = own.log.read_text()
    assert log.count("Task simpletask2_celery.go_on[") == 0 and "Task jobs.steps[" in log
    assert "is not on this machine" not in out.log.read_text()
