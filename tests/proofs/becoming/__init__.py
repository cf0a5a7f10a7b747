"""A project whose task becomes durable; ``BECOMING_SIDE`` says which code a process has."""

from .celery import app as celery_app

__all__ = ["celery_app"]
