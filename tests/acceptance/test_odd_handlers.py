"""Whatever a handler raises: its row ends by its own run, and the worker goes on."""

import os

import pytest

from tests.support import ALIASES
from tests.support.fixtures import broker, queue_name, stop, wait_until
from tests.support.project.jobs.handlers import ODD
from tests.support.project.jobs.models import Job, Ledger
from tests.support.rows import DONE, done

IS_REDIS = os.environ["TEST_BROKER_URL"].startswith("redis")


def unacknowledged():
    """Return what workers of Redis have taken and not acknowledged."""
    with broker() as connection:
        channel = connection.default_channel
        kept = channel.client.hvals(channel.unacked_key)
        return {one for one in kept if queue_name(None).encode() in one}


def is_empty():
    """Tell whether the queue is: RabbitMQ gets back what was not acknowledged."""
    with broker() as connection:
        return connection.default_channel.basic_get(queue_name(None), no_ack=True) is None


#: CPython turns a StopIteration of a coroutine into a RuntimeError.
NOTES = [*ODD, *(f"{name} async" for name in ODD)]


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent", "eventlet"])
def test_the_row_ends_and_the_next_one_runs(worker, pool):
    before = unacknowledged() if IS_REDIS else None  # by workers that were killed
    odd = [Job.objects.using("server").create(what="odd", note=note) for note in NOTES]
    fine = [Job.objects.using("server").create(what="write_ledger") for _ in range(3)]
    process = worker("-P", pool, children=2)
    wait_until(done(*odd, *fine), 60, process.log)
    assert process.poll() is None
    assert {row.note: (row.status, row.success) for row in odd} == {
        note: (DONE, False) for note in NOTES
    }
    assert all(row.success for row in fine)
    ran = Ledger.objects.using("server").values_list("job", flat=True)
    assert sorted(ran) == sorted(row.get_task_info() for row in (*odd, *fine))
    if IS_REDIS:
        wait_until(lambda: unacknowledged() <= before, 10, "the last acknowledgement")
    else:
        stop(process)
        assert is_empty()
