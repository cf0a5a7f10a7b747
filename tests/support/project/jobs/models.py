"""Tasks whose handlers do what a test says: a callable here, or a name of one."""

import datetime
import os
import uuid

from celery.exceptions import SoftTimeLimitExceeded
from django.db import models, transaction

from simpletask2_celery.models import DurableTask, SimpleTask

from . import handlers


class Job(SimpleTask):
    """One step, ``handlers.<what>``."""

    what = models.CharField(max_length=64, default="nothing")
    note = models.CharField(max_length=200, default="")
    other = models.IntegerField(default=0)

    do_task_timeout = int(os.environ.get("TEST_LEASE", 300))
    task_wait_timeout = int(os.environ.get("TEST_LEASE", 300))

    def do_task_main(self, payload):
        return getattr(handlers, self.what)(self, payload)


class Steps(SimpleTask):
    """Four steps, one more than there are columns."""

    what = models.CharField(max_length=64, default="nothing")
    note = models.TextField(default="")
    url = models.CharField(max_length=200, default="")

    is_multi_steps = True
    final_step = 4

    class Meta:
        verbose_name = "report"

    def __str__(self):
        return f"report {self.pk}"

    def do_task_main_step1(self, payload=None):
        return getattr(handlers, self.what)(self, payload)

    do_task_main_step2 = do_task_main_step1
    do_task_main_step3 = do_task_main_step1
    do_task_main_step4 = do_task_main_step1


class AsyncJob(SimpleTask):
    note = models.CharField(max_length=200, default="")

    async def do_task_main(self, payload):
        self.note = "awaited"
        await self.asave()
        return self.note


class ChannelJob(SimpleTask):
    topic = models.CharField(max_length=64, default="")
    channel_field = "topic"

    def do_task_main(self, payload):
        return self.topic


class UuidJob(SimpleTask):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)

    def do_task_main(self, payload):
        return str(self.pk)


class CodeJob(SimpleTask):
    code = models.CharField(max_length=40, primary_key=True)

    def do_task_main(self, payload):
        return self.code


class PairJob(SimpleTask):
    pk = models.CompositePrimaryKey("tenant", "number")
    tenant = models.IntegerField()
    number = models.IntegerField()

    def do_task_main(self, payload):
        return [self.tenant, self.number]


class DayJob(SimpleTask):
    """One row a day, or whatever its key says; kept for as long as a test says."""

    key = models.CharField(max_length=64, unique=True)
    due = models.DateTimeField(null=True)
    keep_done = float(os.environ["TEST_KEEP_DONE"]) if "TEST_KEEP_DONE" in os.environ else None

    def save(self, *args, **kwargs):
        super().save(*args, **kwargs)
        if self.key.startswith("die before"):
            handlers.die_at_first(self.key)
        elif self.key.startswith("die after"):
            transaction.on_commit(lambda: handlers.die_at_first(self.key), self._state.db)

    def do_task_main(self, payload):
        return self.key


class ChildJob(Job):
    """Multi-table inheritance: the state columns are the parent's."""

    extra = models.CharField(max_length=200, default="")


class Ledger(models.Model):
    """Who ran what: a line for each run of a handler."""

    job = models.CharField(max_length=100)
    process = models.CharField(max_length=100)


class UpperField(models.CharField):
    """What the database holds in lower case, Python has in upper case."""

    def from_db_value(self, value, expression, connection):
        return value.upper()

    def get_prep_value(self, value):
        return value.lower()


class EveryJob(SimpleTask):
    """A field of every kind that is loaded or written in a way of its own."""

    data = models.JSONField(default=dict)
    price = models.DecimalField(max_digits=9, decimal_places=2, default=0)
    length = models.DurationField(default=datetime.timedelta)
    raw = models.BinaryField(default=b"")
    key = models.UUIDField(default=uuid.uuid4)
    day = models.DateField(null=True)
    clock = models.TimeField(null=True)
    ratio = models.FloatField(default=0.0)
    upper = UpperField(max_length=20, default="")
    odd = models.IntegerField(default=0, db_column="Odd column")
    other_job = models.ForeignKey(Job, models.CASCADE, null=True)
    file = models.FileField(default="")

    def do_task_main(self, payload):
        for name, value in handlers.every(self).items():
            setattr(self, name, value)


class DurableJob(DurableTask):
    """One step, ``handlers.<what>``, which a ValueError tries again, and a time limit."""

    what = models.CharField(max_length=64, default="nothing")
    note = models.CharField(max_length=200, default="")
    topic = models.CharField(max_length=64, default="")
    channel_field = "topic"

    do_task_timeout = int(os.environ.get("TEST_LEASE", 300))
    task_wait_timeout = int(os.environ.get("TEST_LEASE", 300))
    autoretry_for = (ValueError, SoftTimeLimitExceeded)
    default_retry_delay = float(os.environ.get("TEST_RETRY_DELAY", 180))
    retry_backoff = float(os.environ.get("TEST_RETRY_BACKOFF", 0)) or False

    def do_task_main(self, payload):
        return getattr(handlers, self.what)(self, payload)


class ThreeSteps(DurableTask):
    """Three steps that resume, ``handlers.<what>`` each."""

    what = models.CharField(max_length=64, default="nothing")
    note = models.TextField(default="")
    url = models.CharField(max_length=200, default="")

    is_multi_steps = True
    final_step = 3
    do_task_timeout = int(os.environ.get("TEST_LEASE", 300))
    task_wait_timeout = int(os.environ.get("TEST_LEASE", 300))
    autoretry_for = (ValueError,)
    default_retry_delay = 0
    resume = True

    class Meta:
        abstract = True

    def do_task_main_step1(self, payload=None):
        return getattr(handlers, self.what)(self, payload)

    do_task_main_step2 = do_task_main_step1
    do_task_main_step3 = do_task_main_step1


class DurableSteps(ThreeSteps):
    pass


class AtomicSteps(ThreeSteps):
    """Each step in a transaction of its own."""

    atomic_steps = True
