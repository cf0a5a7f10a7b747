"""The package's Celery tasks: what annotations, base classes and settings make of them."""

from collections.abc import Iterator
from typing import Any

from celery import Task, current_app

from .. import tasks
from ..publishing.messages import DO_TASK
from ..recovery.schedule import DO_AUTO_RESET, DO_PRUNE
from .celery_app import has_app
from .registry import Problems, check

_JSON = {"serializer": "workers refuse messages that are not JSON, and nothing runs"}
_ALL = {"Strategy": "workers decode messages that are not JSON"}
_BOTH = {
    "rate_limit": "each worker starts no more of them than that, and the others wait",
    **_ALL,
}
_OF_ROWS = {
    **_BOTH,
    "acks_late": "a worker that dies takes the messages of its rows with it",
    "expires": "a row whose message is older waits for auto-reset",
    "ignore_result": "the result backend gets a result of every row",
    "reject_on_worker_lost": "a row that ends its process comes back at once",
    "retry_on_worker_lost": "a row that ends its process is published twice",
}
_LOST_TICK = "a worker that dies takes the rows of a time table with it"
_OF_CREATES = {**_ALL, "acks_late": _LOST_TICK, "reject_on_worker_lost": _LOST_TICK}


@check(id="simpletask2_celery.E012")
def serializers() -> Problems:
    """A serializer of the package's tasks whose messages the workers refuse."""
    yield from _changed(DO_TASK, tasks.OF_ROWS, _JSON)
    yield from _changed(DO_AUTO_RESET, tasks.OF_RESETS, _JSON)
    yield from _changed(DO_PRUNE, tasks.OF_PRUNES, _JSON)
    yield from _changed(tasks.CREATE, tasks.OF_CREATES, _JSON)


@check(id="simpletask2_celery.W013")
def task_options() -> Problems:
    """Options of the package's tasks that annotations, a base class or Celery's settings change."""
    yield from _changed(DO_TASK, tasks.OF_ROWS, _OF_ROWS)
    yield from _changed(DO_AUTO_RESET, tasks.OF_RESETS, _BOTH)
    yield from _changed(DO_PRUNE, tasks.OF_PRUNES, _ALL)
    yield from _changed(tasks.CREATE, tasks.OF_CREATES, _OF_CREATES)


def _changed(
    name: str, options: dict[str, Any], effects: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield a problem for each option that is another one; by the task's name it may be."""
    if not has_app():
        return
    task = _as_made(name, options)
    for option, effect in effects.items():
        value, ours = getattr(task, option), options.get(option)
        if value != ours and (value or ours) and not _is_meant(name, option, value):
            yield (
                f"The Celery task {name} has {option} = {value!r}: {effect}.",
                'In task_annotations name the tasks that it is meant for, in place of "*". If '
                f"it is meant for rows, too, name {name} as well.",
            )


def _as_made(name: str, options: dict[str, Any]) -> Any:
    """Return the task as the app makes it when it is finalized.

    To finalize the app here would call what the project has connected to that, which may ask
    a database.
    """
    app = current_app._get_current_object()
    base: type[Task] = options.get("base", app.Task)
    quiet = classmethod(lambda task, app: None)
    task: Any = type("task", (base,), {"on_bound": quiet, **options, "name": name, "app": app})
    task.bind(app)
    return task


def _is_meant(name: str, option: str, value: Any) -> bool:
    """Tell whether an annotation gives this value to the task by its name."""
    maps = [one.get(name) or {} for one in current_app.annotations if isinstance(one, dict)]
    return any(option in one and one[option] == value for one in maps)
