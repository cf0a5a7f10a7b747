"""The names of django-tasks-db, on our backend."""

from simpletask2_celery.django_tasks import CeleryBackend as DatabaseBackend

__all__ = ["DatabaseBackend"]
