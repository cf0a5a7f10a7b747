"""The rows of everybody else, with the columns that their lives need."""

import datetime

from django.db import models
from django.utils import timezone

READY, DOING, DONE = 10, 20, 30
WAIT = datetime.timedelta(seconds=300)


class Greeting(models.Model):
    name = models.CharField(max_length=64)
    status = models.IntegerField(default=READY)
    start_time = models.DateTimeField(null=True)
    done_time = models.DateTimeField(null=True)
    success = models.BooleanField(null=True)

    class Meta:
        abstract = True

    def greet(self):
        return {"greeting": f"Hello, {self.name}."}


class Row(Greeting):
    """A row of a library that keeps claims, times and results in tables of its own."""


def when_due():
    return timezone.now() + WAIT


class Twin(Greeting):
    """A row with the columns of ours, for who keeps its state by hand."""

    add_time = models.DateTimeField(auto_now_add=True)
    mod_time = models.DateTimeField(auto_now=True)
    current_step = models.IntegerField(null=True)
    step1_time = models.DateTimeField(null=True)
    step2_time = models.DateTimeField(null=True)
    step3_time = models.DateTimeField(null=True)
    auto_reset_time = models.DateTimeField(null=True, default=when_due)
