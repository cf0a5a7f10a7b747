"""The two Celery tasks: what annotations, base classes and Celery's settings make of them."""

from collections.abc import Iterator
from typing import Any

from celery import current_app

from ..publishing.messages import DO_TASK
from ..recovery.schedule import DO_AUTO_RESET
from ..running import only_json
from .celery_app import has_app
from .registry import Problems, check

_JSON = {"serializer": ("json", "workers refuse messages that are not JSON, and nothing runs")}
_BOTH = {
    "rate_limit": (None, "each worker starts no more of them than that, and the others wait"),
    "Strategy": (only_json.NAME, "workers decode messages that are not JSON"),
}
_OF_ROWS = {
    **_BOTH,
    "acks_late": (True, "a worker that dies takes the messages of its rows with it"),
    "expires": (None, "a row whose message is older waits for auto-reset"),
    "ignore_result": (True, "the result backend gets a result of every row"),
    "reject_on_worker_lost": (False, "a row that ends its process comes back at once"),
    "retry_on_worker_lost": (False, "a row that ends its process is published twice"),
}
_HINT = (
    'In task_annotations name the tasks that it is meant for, in place of "*". If it is meant '
    "for rows, too, name {task} as well."
)


@check(id="simpletask2_celery.E012")
def serializers() -> Problems:
    """A serializer of the two tasks whose messages the workers refuse."""
    yield from _changed({DO_TASK: _JSON, DO_AUTO_RESET: _JSON})


@check(id="simpletask2_celery.W013")
def task_options() -> Problems:
    """Options of the two tasks that annotations, a base class or Celery's settings change."""
    yield from _changed({DO_TASK: _OF_ROWS, DO_AUTO_RESET: _BOTH})


def _changed(options: dict[str, dict[str, tuple[Any, str]]]) -> Iterator[tuple[str, str]]:
    """Yield a problem for each option that has another value; by the task's name it may have."""
    for task, of_task in options.items() if has_app() else ():
        for name, (ours, effect) in of_task.items():
            value = getattr(current_app.tasks[task], name)
            if value != ours and (value or ours) and not _is_meant(task, name, value):
                yield (
                    f"The Celery task {task} has {name} = {value!r}: {effect}.",
                    _HINT.format(task=task),
                )


def _is_meant(task: str, name: str, value: Any) -> bool:
    """Tell whether an annotation gives this value to the task by its name."""
    maps = [one.get(task) or {} for one in current_app.annotations if isinstance(one, dict)]
    return any(name in one and one[name] == value for one in maps)
