"""The base class of the models: every row that was loaded or saved is in a run."""

import datetime

from celery import Celery
from django.conf import settings

from simpletask2_celery.fence import Fence
from simpletask2_celery.models import SimpleTask

app = Celery("django", broker="memory://")
app.set_default()
app.set_current()


def token():
    return datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC if settings.USE_TZ else None)


for _field in SimpleTask._meta.local_fields:
    _field.creation_counter += 10**6  # columns last: positional arguments still fit
    if _field.name in ("add_time", "mod_time"):
        _field.null = True  # fixtures lack them
    if _field.name == "start_time":
        _field.default = token
    if _field.name == "status":
        _field.default = SimpleTask.DOING
SimpleTask._meta.local_fields.sort()


class TaskBase(SimpleTask):
    class Meta:
        abstract = True

    def do_task_main(self, payload):
        return None

    @classmethod
    def from_db(cls, db, field_names, values, **more):
        row = super().from_db(db, field_names, values, **more)
        row._begin_run()
        return row

    def save(self, *args, **kwargs):
        if self._state.adding or self.pk is None:
            self._fence = None
        super().save(*args, **kwargs)
        if self._fence is None:
            self._begin_run()

    def _begin_run(self):
        if self.pk is not None and not isinstance(self.pk, tuple):
            fence = Fence(self.pk, token(), SimpleTask.DOING, self._state.db or "default")
            fence.note_loaded(self, self._meta.concrete_fields)
            self._fence = fence
