"""``FunctionTask``: a row for each call of a function that is enqueued."""

import uuid
from collections.abc import Awaitable
from inspect import iscoroutinefunction
from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from ..models import DurableTask
from . import announcing, functions, results
from .api import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_QUEUE_NAME,
    TaskContext,
    task_backends,
)
from .backend import LONGEST_NAME, LONGEST_PATH, CeleryBackend, storable
from .options import Option


class _KeepDone:
    """``keep_done`` of the table: the longest of all backends, or None where one keeps for ever."""

    def __get__(self, row: Any, owner: type) -> float | None:
        """Return seconds, or None."""
        ours = [one for one in task_backends.all() if isinstance(one, CeleryBackend)]
        kept: list[float | None] = [one.options.get("keep_done") for one in ours]
        known = [seconds for seconds in kept if seconds is not None]
        return max(known) if known and len(known) == len(kept) else None


class FunctionTask(DurableTask):
    """A call of a function: its path and its arguments. Its status and results are the row's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task_path = models.CharField(_("Task path"), max_length=LONGEST_PATH)
    args = models.JSONField(_("Arguments"), default=list, blank=True)
    kwargs = models.JSONField(_("Keyword arguments"), default=dict, blank=True)
    priority = models.SmallIntegerField(_("Priority"), default=0)
    queue_name = models.CharField(
        _("Queue name"), max_length=LONGEST_NAME, default=DEFAULT_TASK_QUEUE_NAME
    )
    backend = models.CharField(
        _("Backend"), max_length=LONGEST_NAME, default=DEFAULT_TASK_BACKEND_ALIAS
    )

    channel_field = "queue_name"
    kind_field = "task_path"

    autoretry_for = Option(())
    dont_autoretry_for = Option(())
    max_retries = Option(DurableTask.max_retries)
    default_retry_delay = Option(DurableTask.default_retry_delay)
    retry_backoff = Option(DurableTask.retry_backoff)
    retry_backoff_max = Option(DurableTask.retry_backoff_max)
    retry_jitter = Option(DurableTask.retry_jitter)
    atomic_steps = Option(DurableTask.atomic_steps)
    do_task_timeout = Option(DurableTask.do_task_timeout)
    task_wait_timeout = Option(DurableTask.task_wait_timeout)
    keep_done = _KeepDone()

    _listener: ClassVar[Any] = announcing

    class Meta:
        verbose_name = _("Function task")
        verbose_name_plural = _("Function tasks")
        indexes = [
            DurableTask.auto_reset_index("simpletask2_function"),
            DurableTask.history_index("simpletask2_function"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(priority__range=(-100, 100)), name="simpletask2_priority"
            )
        ]

    def do_task_main(self, payload: Any = None) -> Any:
        """Call the function, and return what it returns as JSON has it.

        Raises as the function does; ImportError or SuspiciousOperation where its path leads to no
        Task any more; TypeError or ValueError for what JSON cannot hold.
        """
        task = functions.at(self.task_path)
        args = list(self.args)
        if task.takes_context:
            args.insert(0, TaskContext(task_result=results.of_row(self)))
        answer = task.func(*args, **self.kwargs)
        return _awaited(answer) if iscoroutinefunction(task.func) else storable(answer)

    def get_celery_name(self) -> str | None:
        """Return the path of the function: Celery's log and Flower show it."""
        return self.task_path

    def get_urgency(self) -> int | None:
        """Return the priority as ten levels: 5 for 0, of which all above are more urgent."""
        if self.priority > 0:
            return 6 + -(-min(self.priority, 100) * 3 // 100)
        if self.priority < 0:
            return 4 - -(-min(-self.priority, 100) * 4 // 100)
        return 5


async def _awaited(answer: Awaitable[Any]) -> Any:
    return storable(await answer)
