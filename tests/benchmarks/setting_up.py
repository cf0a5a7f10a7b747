"""Says how many ms django.setup() takes: ``python -m …setting_up APP …``."""

import sys
import time

import celery.app.task  # noqa: F401  what a project with Celery has: tasks
import django
from celery import Celery
from django.conf import settings

if __name__ == "__main__":
    app = Celery("setting up")
    app.set_default()
    settings.configure(INSTALLED_APPS=sys.argv[1:])
    began = time.perf_counter()
    django.setup()
    print((time.perf_counter() - began) * 1000)
