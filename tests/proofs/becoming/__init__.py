"""A project whose task becomes durable; ``BECOMING_SIDE`` says which code a process has."""

import os

# A test reads its migrations in a process that has an app of its own.
if os.environ.get("DJANGO_SETTINGS_MODULE", "").startswith(__name__):
    from .celery import app as celery_app

__all__ = ["celery_app"]
