"""Which function a path leads to: one that ``@task`` has made a Task of, and no other."""

from typing import Any

from django.core.exceptions import SuspiciousOperation
from django.utils.module_loading import import_string

from .api import InvalidTask, InvalidTaskBackend, Task

_OPTIONS = ("priority", "queue_name", "run_after", "backend")


def at(path: str) -> Any:
    """Return the Task at a path, as "shop.tasks.greet".

    Raises ImportError where there is nothing, and SuspiciousOperation for anything but a Task:
    whoever can write a row must not choose what a worker calls.
    """
    found = import_string(path)
    if not isinstance(found, Task):
        raise SuspiciousOperation(f"{path} does not lead to a Task of Django's.")
    return found


def find(path: str) -> Any:
    """Return the Task at a path, or None where there is none."""
    try:
        return at(path)
    except Exception:  # of the module that is imported, too
        return None


def require(task: Any) -> None:
    """Raise InvalidTask for a Task that no worker would find by its path."""
    path = task.module_path
    found = find(path)
    if found is None or found.func is not task.func:
        raise InvalidTask(
            f"No worker would find this task: {path} does not lead to it. Give it the name of its "
            "function, in a module that workers can import."
        )


def as_enqueued(row: Any) -> Any:
    """Return the Task of a row, with the options that it was enqueued with.

    Where the backend does not take them any more, as a queue that is gone from QUEUES, the Task as
    its module has it. Raises as :func:`at` does.
    """
    task = at(row.task_path)
    options = {name: getattr(row, name) for name in _OPTIONS}
    if all(getattr(task, name) == value for name, value in options.items()):
        return task  # using() would look at the signature of the function
    try:
        return task.using(**options)
    except (InvalidTask, InvalidTaskBackend):
        return task
