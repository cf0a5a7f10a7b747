"""The tasks of both sides: the base class is the original's or ours."""

from importlib import import_module

from django.conf import settings
from django.db import models

from . import handlers

SimpleTask = import_module(f"{settings.LIBRARY}.models").SimpleTask


class Task(SimpleTask):
    """A task whose handlers do what the row says: see :func:`handlers.run`."""

    what = models.CharField(max_length=64, default="work")
    note = models.TextField(default="")
    other = models.IntegerField(default=0)

    do_task_timeout = 600
    task_wait_timeout = 300

    class Meta:
        abstract = True

    def do_task_main(self, payload):
        return handlers.run(self, payload)


class Job(Task):
    pass


class Two(Task):
    is_multi_steps = True
    final_step = 2

    def do_task_main_step2(self, payload=None):
        return handlers.run(self, payload)


class Three(Task):
    is_multi_steps = True
    final_step = 3

    def do_task_main_step2(self, payload=None):
        return handlers.run(self, payload)

    do_task_main_step3 = do_task_main_step2


class Four(Task):
    """One step more than there are columns."""

    is_multi_steps = True
    final_step = 4

    def do_task_main_step2(self, payload=None):
        return handlers.run(self, payload)

    do_task_main_step3 = do_task_main_step2
    do_task_main_step4 = do_task_main_step2


class Gap(Task):
    """Without a handler of step 2."""

    is_multi_steps = True
    final_step = 3

    def do_task_main_step3(self, payload=None):
        return handlers.run(self, payload)


class Unwritten(SimpleTask):
    """Without a do_task_main."""


class ChannelJob(Task):
    topic = models.CharField(max_length=64, null=True)
    channel_field = "topic"


class UuidJob(Task):
    id = models.UUIDField(primary_key=True)


class CodeJob(Task):
    code = models.CharField(max_length=40, primary_key=True)


class LostJob(Task):
    """Whose channel cannot be told."""

    channel_field = "topic"

    @property
    def topic(self):
        raise RuntimeError("no topic")


class OfflineJob(Task):
    """Whose Redis is down."""

    @classmethod
    def get_redis_conn(cls):
        raise ConnectionError("no Redis")
