"""A thousand rows that all fail and are all retried: the broker and the worker stay small."""

import os
import threading
from pathlib import Path

import pytest

from tests.support import ALIASES
from tests.support.clock import clock
from tests.support.fixtures import broker, queue_name, wait_until
from tests.support.project.jobs.models import DurableJob

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)
ROWS, ATTEMPTS = 1000, 4  # max_retries is 3
IS_REDIS = os.environ["TEST_BROKER_URL"].startswith("redis")


class Watch(threading.Thread):
    """The most messages that the broker has had, and the memory of a worker while it ran.

    Those that it had ``before`` do not count: workers that other tests have killed took them.
    """

    def __init__(self, process, before):
        super().__init__(daemon=True)
        self.group, self.before, self.over = process.pid, before, threading.Event()
        self.messages, self.memory = 0, []

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.join()

    def run(self):
        while not self.over.wait(0.1):
            self.messages = max(self.messages, messages() - self.before)
            self.memory.append(memory(self.group))


def messages():
    """Return how many messages wait, or were taken and not acknowledged (Redis alone tells)."""
    with broker() as connection:
        channel = connection.default_channel
        if not IS_REDIS:
            return channel.queue_declare(queue_name(), passive=True).message_count
        name = queue_name().encode()
        with channel.client.pipeline() as both:  # or one taken meanwhile would count twice
            waiting, taken = both.llen(queue_name()).hvals(channel.unacked_key).execute()
        return waiting + sum(name in one for one in taken)


def memory(group):
    """Return the MiB of a worker's parent and children; pages that they share count once."""
    total = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            if int(stat[2]) == group:
                lines = (path / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, ValueError):  # it has ended
            continue
    return total / 1024


@pytest.mark.parametrize(
    ("options", "seconds"),  # twenty on two idle cores
    [({"TEST_RETRY_DELAY": "0"}, 150), ({"TEST_RETRY_BACKOFF": "1"}, 150 + 1 + 2 + 4)],
    ids=["at once", "with backoff"],
)
def test_a_thousand_rows_that_fail_and_are_retried_drown_nobody(worker, beat, options, seconds):
    objects = DurableJob.objects.using("server")
    before = messages()
    for _ in range(ROWS):
        objects.create(what="fail")
    beat()
    began = clock()
    process = worker(name="storm", **options)
    with Watch(process, before) as watch:
        wait_until(lambda: not objects.exclude(status=30).exists(), seconds, process.log)
    took = clock() - began
    for row in objects:
        assert (row.success, row.attempts, len(row.errors)) == (False, ATTEMPTS, ATTEMPTS)
    lines = process.log.read_text().splitlines()
    received = sum("Task jobs.durablejob[" in one and "] received" in one for one in lines)
    half = len(watch.memory) // 2
    first, second = max(watch.memory[:half]), max(watch.memory[half:])
    told = f"{took:.1f} s, {before} messages before, {watch.messages} at most, {received} in all, "
    print(told + f"{first:.0f} MiB at most, then {second:.0f}")
    # And a reset each second, which RabbitMQ counts when it has expired, too.
    assert watch.messages <= ROWS * 1.02 + took
    assert ROWS * ATTEMPTS <= received <= ROWS * ATTEMPTS * 1.02
    # Celery keeps what a failed task has had until Python collects it: half a MiB a failure.
    assert second < 1.25 * first and second < 700
    # The last resets and acknowledgements are on their way while the machine has other work.
    wait_until(lambda: messages() <= before, 30, "an empty broker")
