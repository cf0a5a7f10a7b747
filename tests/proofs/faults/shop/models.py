"""The rows that faults befall, and the two records of what happened to them."""

import os

from django.db import models

from simpletask2_celery.models import DurableTask, SimpleTask

from . import handlers

LEASE = int(os.environ["FAULTS_LEASE"])


class Row(SimpleTask):
    """What all rows have: a handler, how long it takes, and what it leaves behind."""

    what = models.CharField(max_length=20, default="work")
    seconds = models.FloatField(default=0.1)
    mark = models.CharField(max_length=100, default="")
    other = models.IntegerField(default=0)

    do_task_timeout = LEASE
    task_wait_timeout = LEASE

    class Meta:
        abstract = True

    def do_task_main(self, payload):
        return handlers.run(self, payload)


class Job(Row):
    pass


class ThreeSteps(Row):
    is_multi_steps = True
    final_step = 3

    class Meta:
        abstract = True

    def do_task_main_step2(self, payload):
        return handlers.run(self, payload)

    do_task_main_step3 = do_task_main_step2


class Steps(ThreeSteps):
    pass


class Durable(ThreeSteps, DurableTask):
    """A row whose steps resume and commit with what they write: a line of Effect each."""

    fails = models.BooleanField(default=False)  # its second step, once

    resume = True
    atomic_steps = True
    autoretry_for = (handlers.Again,)
    default_retry_delay = 0.3


class Effect(models.Model):
    """What a step of a durable row has done, in the row's own database."""

    row = models.CharField(max_length=40, db_index=True)
    step = models.IntegerField()


class Ledger(models.Model):
    """What handlers, the app and the operator did: a line each, with the time.

    A ``step`` has the token of its claim and the process; ``seen`` is the last time that
    it said it was alive; it has ``ended`` when it left the handler, and ``completed``
    when it did so without an error.
    """

    what = models.CharField(max_length=20)  # step, created, reset, deleted, done
    row = models.CharField(max_length=40, db_index=True)
    token = models.CharField(max_length=40, default="")
    claimed = models.FloatField(default=0)  # by the right clock
    step = models.IntegerField(default=0)
    process = models.IntegerField(default=0)
    began = models.FloatField()
    seen = models.FloatField()
    ended = models.BooleanField(default=False)
    completed = models.BooleanField(default=False)


class Write(models.Model):
    """Each change of a row's mark, written by a trigger: what was true before it."""

    row = models.CharField(max_length=40)
    mark = models.CharField(max_length=100)
    token = models.DateTimeField(null=True)
    status = models.IntegerField()


TASKS = [Job, Steps, Durable]

from . import asking  # noqa: E402, F401  a model and a line of TASKS more
