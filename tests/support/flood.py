"""Many rows that nobody runs, and resets for ten times as long as they may wait."""

import datetime

from django.db.models import F

from simpletask2_celery.publishing import broker, to_lists
from tests.support.fixtures import queued, wait_until
from tests.support.project.jobs.models import Job


def in_queue(number):
    """Wait until so many are in the queue: RabbitMQ counts them a moment later."""
    wait_until(lambda: broker.messages_in_queue("default") >= number)


def assert_resets_do_not_flood(using, total, target="celery"):
    """Fail if resets publish rows again whose first messages still wait in the queue.

    ``Job.task_wait_timeout`` has to be one second.
    """
    objects = Job.objects.using(using)
    objects.bulk_create([Job() for _ in range(total)])
    assert Job.do_auto_reset() == total  # which publishes them, for the first time
    if target != "redis":
        in_queue(total)
    reset = []
    for _ in range(10):  # a second and a little goes by, each time
        over = F("auto_reset_time") - datetime.timedelta(seconds=1.1)
        objects.update(auto_reset_time=over)
        reset.append(Job.do_auto_reset())
        if target != "redis":
            in_queue(total)
    found = len(queued()) if target != "redis" else to_lists.length("default")
    assert total <= found <= 2 * total, reset
    assert sum(1 for number in reset if number) <= 1
    assert not objects.exclude(status=10).exists()
