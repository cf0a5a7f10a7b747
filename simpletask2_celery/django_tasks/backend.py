"""``CeleryBackend``: what ``Task.enqueue()`` and ``get_result()`` of Django do with rows."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from ..rows import memory
from . import functions, options, results
from .api import (
    BaseTaskBackend,
    InvalidTask,
    TaskResultDoesNotExist,
    normalize_json,
    task_enqueued,
)

APPS = ("simpletask2_celery", "simpletask2_celery.django_tasks")
LONGEST_PATH = 500  # characters of "shop.tasks.greet"
LONGEST_NAME = 255  # characters of a queue and of a backend's alias


class CeleryBackend(BaseTaskBackend):
    """A backend of Django's Tasks whose tasks are rows that Celery's workers run.

    Takes the OPTIONS of :func:`durable` and ``keep_done``.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Save the task as a row, whose message is sent at the commit; return its TaskResult.

        Raises InvalidTask for a task that no worker could run, and TypeError or ValueError for
        arguments that JSON cannot hold. A broker that fails raises nothing.
        """
        self.validate_task(task)
        functions.require(task)
        if len(task.module_path) > LONGEST_PATH or len(task.queue_name) > LONGEST_NAME:
            raise InvalidTask(
                f"A path has at most {LONGEST_PATH} characters, a queue's name {LONGEST_NAME}."
            )
        row = self._model()(
            task_path=task.module_path,
            args=storable(list(args)),
            kwargs=storable(dict(kwargs)),
            priority=task.priority,
            queue_name=task.queue_name,
            run_after=task.run_after,
            backend=self.alias,
        )
        row.save()
        is_own = task.backend == self.alias
        result = results.of_row(row, task if is_own else task.using(backend=self.alias))
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        """Return the TaskResult of a row by its id.

        Raises TaskResultDoesNotExist where there is none; ImportError or SuspiciousOperation where
        the code of its task is gone.
        """
        model = self._model()
        try:
            row = model.objects.get(pk=UUID(str(result_id)))
        except (ValueError, model.DoesNotExist):
            raise TaskResultDoesNotExist(result_id) from None
        return results.of_row(row)

    def check(self, **kwargs: Any) -> Iterator[checks.CheckMessage]:  # type: ignore[override]
        """Yield what is wrong with the settings (E020, E021)."""
        missing = [name for name in APPS if not apps.is_installed(name)]
        if missing:
            yield checks.Error(
                f"TASKS[{self.alias!r}] makes rows, and INSTALLED_APPS has not "
                f"{' and '.join(missing)}.",
                f"Add {', '.join(map(repr, missing))} to INSTALLED_APPS.",
                id="simpletask2_celery.E020",
            )
        problems = [*options.problems_of_backend(self.options)]
        if len(self.alias) > LONGEST_NAME:
            problems.append(f"the alias is longer than {LONGEST_NAME} characters.")
        for problem in problems:
            yield checks.Error(
                f"TASKS[{self.alias!r:.60}]: {problem}",
                "The options are those of docs/learn/django-tasks.md.",
                id="simpletask2_celery.E021",
            )

    def _model(self) -> Any:
        # Modules of tasks are imported before the models are loaded, and with them this one.
        try:
            return apps.get_app_config("simpletask2_tasks").get_model("FunctionTask")
        except LookupError:
            raise ImproperlyConfigured(
                f"TASKS[{self.alias!r}] makes rows: add {APPS[1]!r} to INSTALLED_APPS."
            ) from None


def storable(value: Any) -> Any:
    """Return a value as JSON has it, as Django's own backends do.

    Raises TypeError or ValueError for one that no column of JSON can hold.
    """
    value = normalize_json(value)
    is_kept, read = memory.as_json(value)
    if not is_kept:
        raise ValueError(
            f"A {type(value).__name__} cannot be kept: JSON of databases has no NaN, no NUL, no "
            f"half of a surrogate pair, and {memory.DEEPEST} levels at most."
        )
    return read
