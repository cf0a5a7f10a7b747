"""System checks: what would make rows wait, run twice or crawl, reported before it does.

- ``registry``: how a check is made of a function that yields problems
- ``handlers``: steps, their methods, and the numbers of a model
- ``names``: fields and methods of a model that hide the library's
- ``project``: the settings
- ``celery_app``: which Celery app publishes, and to which broker
- ``task_options``: what annotations and base classes make of the Celery tasks
- ``databases``: what databases and clocks do to rows
- ``durable``: retries, and the transactions of steps

Where the app is not installed none of them is registered; ``SimpleTask.check()`` says so (E007).
"""

from . import (  # noqa: F401  which hold the checks
    celery_app,
    databases,
    durable,
    handlers,
    names,
    project,
    task_options,
)
from .registry import register

__all__ = ["register"]
