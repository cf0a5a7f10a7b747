import base64
import os

from django.db import models

if os.environ.get("MIGRATION_SIDE") == "original":
    from django_simpletask2.models import SimpleTask
else:
    from simpletask2_celery.models import SimpleTask


class Entry(models.Model):
    """The ledger: a line for each step that a handler ran."""

    job = models.CharField(max_length=100)
    step = models.IntegerField()
    by = models.CharField(max_length=20)


def write(row, payload):
    entries = Entry.objects.using(row._state.db)
    step = (payload or {}).get("step", 1)
    entries.create(job=row.get_task_info(), step=step, by=os.environ["MIGRATION_SIDE"])


class Order(SimpleTask):
    number = models.IntegerField()

    def do_task_main(self, payload=None):
        write(self, payload)


class Parcel(SimpleTask):
    """Three steps, the second of which gets a page."""

    url = models.CharField(max_length=200)
    page = models.TextField(default="")

    is_multi_steps = True
    final_step = 3

    def do_task_main_step1(self, payload=None):
        write(self, payload)
        return {"proxy": {"method": "GET", "url": self.url}}

    def do_task_main_step2(self, payload=None):
        write(self, payload)
        content = payload["proxied_content"] or ""
        self.page = base64.decodebytes(content.encode()).decode() or payload["proxied_error"]
        self.save()
        return {}  # an old server asks what is not a dict for its proxy, and dies of it

    def do_task_main_step3(self, payload=None):
        write(self, payload)
