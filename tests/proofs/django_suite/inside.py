"""The base class of the models: every row that was loaded or saved is in a run."""

import datetime

from django.conf import settings
from outside import TaskBase as OutsideBase

from simpletask2_celery.rows import fence
from simpletask2_celery.rows.fence import Fence


def token():
    return datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC if settings.USE_TZ else None)


for _field in OutsideBase._meta.local_fields:
    if _field.name == "start_time":
        _field.default = token
    if _field.name == "status":
        _field.default = OutsideBase.DOING


class TaskBase(OutsideBase):
    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db, field_names, values, **more):
        row = super().from_db(db, field_names, values, **more)
        row._begin_run()
        return row

    def save(self, *args, **kwargs):
        if self._state.adding or self.pk is None:
            fence.lift(self)
        super().save(*args, **kwargs)
        if fence.of(self) is None:
            self._begin_run()

    def _begin_run(self):
        if self.pk is not None and not isinstance(self.pk, tuple):
            using = self._state.db or "default"
            fence.move(Fence(self.pk, token(), self.DOING, using), self)
