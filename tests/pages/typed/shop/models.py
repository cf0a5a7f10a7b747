"""Handlers in every form that the pages show, with types."""

import base64
from typing import Any

from django.db import models

from simpletask2_celery.models import DurableTask, SimpleTask

Payload = dict[str, Any]


class Hello(SimpleTask):
    name = models.CharField(max_length=64)
    greeting = models.CharField(max_length=100, blank=True)

    class Meta(SimpleTask.Meta):
        indexes = [SimpleTask.auto_reset_index("shop_hello"), SimpleTask.history_index("shop")]

    def do_task_main(self, payload: Payload) -> int:
        self.greeting = f"Hello, {self.name}."
        return len(self.greeting)


class WithDefault(SimpleTask):
    def do_task_main(self, payload: Payload | None = None) -> None:
        super().do_task_main_step1(payload)


class Async(SimpleTask):
    channel_field = "kind"
    kind = models.CharField(max_length=20, blank=True)

    async def do_task_main(self, payload: Payload) -> str:
        return self.get_channel_name()


class Page(SimpleTask):
    url = models.URLField()
    text = models.TextField(blank=True)

    is_multi_steps = True
    final_step = 3
    do_task_timeout = 1800
    task_wait_timeout = 60
    keep_done = 30 * 24 * 3600

    def do_task_main_step1(self, payload: Payload) -> Payload:
        return {"proxy": {"method": "GET", "url": self.url}}

    async def do_task_main_step2(self, payload: Payload) -> None:
        self.text = base64.b64decode(payload["proxied_content"]).decode()

    def do_task_main_step3(self, payload: Payload | None = None) -> None:
        Hello.objects.create(name=self.text)


class Charge(DurableTask):
    url = models.URLField()

    autoretry_for = (ConnectionError, TimeoutError)
    dont_autoretry_for = (ConnectionRefusedError,)
    max_retries = 5
    retry_backoff = True
    final_step = 2
    resume = True
    atomic_steps = True

    class Meta(DurableTask.Meta):
        indexes = [DurableTask.auto_reset_index("shop_charge")]

    def do_task_main_step1(self, payload: Payload) -> Payload:
        if self.attempts < 2:
            raise ConnectionError(self.url)
        return {}

    def do_task_main_step2(self, payload: Payload) -> str:
        if self.attempts < 3 and self.is_claimed():
            raise self.retry(countdown=60)
        return self.url


class FirstStepWithDefault(SimpleTask):
    final_step = 2

    def do_task_main_step1(self, payload: Payload | None = None) -> None: ...

    async def do_task_main_step2(self, payload: Payload) -> None: ...
