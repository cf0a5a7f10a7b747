"""A backend of Django's Tasks: each task that is enqueued is a row, and Celery runs it.

An app of its own, with the only table of the package. For projects with Django 6.0 or later, and
for those with Django 5.2 and the backport ``django-tasks``:

    INSTALLED_APPS += ["simpletask2_celery", "simpletask2_celery.django_tasks"]
    TASKS = {"default": {"BACKEND": "simpletask2_celery.django_tasks.CeleryBackend"}}

- ``api``: Django's names, from ``django.tasks`` or from the backport
- ``backend``: ``CeleryBackend``, from ``enqueue()`` to a row and from a row to a ``TaskResult``
- ``options``: retries and timeouts, of a backend's OPTIONS or of one task (``durable``)
- ``functions``: which function a path leads to
- ``results``: what a ``TaskResult`` says of a row
- ``models``: ``FunctionTask``, the row
- ``announcing``: Django's signals, sent when ours are
- ``admin``: the rows in the admin
- ``apps``: the app
"""

from .backend import CeleryBackend
from .options import durable

__all__ = ["CeleryBackend", "durable"]
