"""The tasks of ours and of the original: one step, which does next to nothing."""

from importlib import import_module

from django.conf import settings
from django.db import models

library = import_module(f"{settings.LIBRARY}.models")
SimpleTask = library.SimpleTask


class Greeting(SimpleTask):
    name = models.CharField(max_length=64)

    class Meta:
        abstract = True

    def do_task_main(self, payload=None):
        return {"greeting": f"Hello, {self.name}."}


class Task(Greeting):
    pass


class Fetch(SimpleTask):
    """Has a page fetched between its two steps."""

    url = models.CharField(max_length=200)

    is_multi_steps = True
    final_step = 2

    def do_task_main_step1(self, payload=None):
        return {"proxy": {"method": "GET", "url": self.url}}

    def do_task_main_step2(self, payload=None):
        if not payload["proxied_content"]:
            raise ValueError(payload["proxied_error"])
        return {}


if hasattr(SimpleTask, "auto_reset_index"):

    class Heavy(Greeting):
        payload = models.TextField(null=True)

    class Full(Greeting):
        class Meta:
            indexes = [SimpleTask.auto_reset_index("simple_full")]

    class Empty(Greeting):
        class Meta:
            indexes = [SimpleTask.auto_reset_index("simple_empty")]

    class Durable(Greeting, library.DurableTask):
        pass

    class Atomic(Greeting, library.DurableTask):
        """As Durable, and each step commits with what it writes."""

        resume = True
        atomic_steps = True

    class Watched(Greeting):
        class Meta:
            indexes = [
                SimpleTask.auto_reset_index("simple_watched"),
                SimpleTask.history_index("simple_watched"),
            ]
