"""A task on both sides of its change: the same class, with the one base or the other."""

import os
import time
from pathlib import Path

from django.db import models

from simpletask2_celery.models import DurableTask, SimpleTask

SIDE = os.environ["BECOMING_SIDE"]  # "simple" or "durable"
FOLDER = Path(os.environ["BECOMING_FOLDER"])
Base = {"simple": SimpleTask, "durable": DurableTask}[SIDE]


class Again(Exception):
    """What a durable row is tried again for."""


class Entry(models.Model):
    """A line for each run of a handler."""

    row = models.IntegerField(db_index=True)
    by = models.CharField(max_length=10)
    process = models.IntegerField()


class Order(Base):
    what = models.CharField(max_length=20, default="quick")
    note = models.CharField(max_length=40, default="")

    do_task_timeout = 300  # nothing but a dead process takes a row from its run
    task_wait_timeout = 300
    autoretry_for = (Again,)
    default_retry_delay = 0.2

    def do_task_main(self, payload):
        Entry.objects.create(row=self.pk, by=SIDE, process=os.getpid())
        if self.what.startswith("until "):
            until(self.what)
        if self.what == "again" and Entry.objects.filter(row=self.pk).count() == 1:
            raise Again("not yet")
        self.note = f"by {SIDE}"
        return {"by": SIDE}


def until(name):
    """Wait for a file of the test's folder."""
    end = time.monotonic() + 60
    while not (FOLDER / name).exists():
        assert time.monotonic() < end, name
        time.sleep(0.05)
