"""The tasks of the example; ``demo --keep`` creates rows of all of them."""

import base64
import time

from django.db import models

from simpletask2_celery.models import SimpleTask


class HelloTask(SimpleTask):
    """The README's."""

    name = models.CharField(max_length=64)
    greeting = models.CharField(max_length=100, blank=True)

    def do_task_main(self, payload):
        self.greeting = f"Hello, {self.name}."


class WorldTask(SimpleTask):
    """Two steps, and a request between them, which the worker makes."""

    url = models.CharField(max_length=128)
    content = models.TextField(blank=True)

    final_step = 2

    def do_task_main_step1(self, payload=None):
        return {"proxy": {"method": "GET", "url": self.url}}

    def do_task_main_step2(self, payload=None):
        if payload["proxied_error"]:
            raise RuntimeError(payload["proxied_error"])
        self.content = base64.b64decode(payload["proxied_content"]).decode()


class PaymentTask(SimpleTask):
    """Fails now and then; whoever resets the row sees it succeed."""

    number = models.IntegerField()
    outcome = models.CharField(max_length=100, blank=True)

    def do_task_main(self, payload):
        if self.number % 5 == 2 and not self.outcome:
            self.outcome = "The bank did not answer."  # saved, although the handler raises
            raise ConnectionError(self.outcome)
        self.outcome = f"Paid, receipt {self.number:06}."


class ExportTask(SimpleTask):
    """Takes half a minute, in six steps."""

    progress = models.CharField(max_length=100, blank=True)

    final_step = 6

    def do_task_main_step1(self, payload=None):
        self.export("customers")

    def do_task_main_step2(self, payload=None):
        self.export("orders")

    def do_task_main_step3(self, payload=None):
        self.export("payments")

    def do_task_main_step4(self, payload=None):
        self.export("returns")

    def do_task_main_step5(self, payload=None):
        self.export("stock")

    def do_task_main_step6(self, payload=None):
        self.export("prices")

    def export(self, table):
        time.sleep(5)
        self.progress = f"{table} exported"


class MailTask(SimpleTask):
    """For a worker of its own, which is slow: a queue grows, and is worked off."""

    to = models.EmailField()
    channel = models.CharField(max_length=20, default="mail")
    answer = models.CharField(max_length=100, blank=True)

    channel_field = "channel"

    def do_task_main(self, payload):
        time.sleep(4)
        self.answer = "250 OK"
