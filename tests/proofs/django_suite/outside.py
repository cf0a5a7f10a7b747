"""The base class of the models: rows outside of runs."""

from celery import Celery

from simpletask2_celery.models import SimpleTask

app = Celery("django", broker="memory://")
app.set_default()
app.set_current()

for _field in SimpleTask._meta.local_fields:
    _field.creation_counter += 10**6  # columns last: positional arguments still fit
    if _field.name in ("add_time", "mod_time"):
        _field.null = True  # fixtures lack them
SimpleTask._meta.local_fields.sort()


class TaskBase(SimpleTask):
    class Meta:
        abstract = True

    def do_task_main(self, payload):
        return None
