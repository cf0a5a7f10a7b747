"""What the checks say of the models beside this: ``python -m tests.support.checked``.

Prints {name of a model: [[id, message, hint], …]} as JSON.
"""

import json
import os

import django
from celery import Celery
from django.conf import settings
from django.core.checks import run_checks


def main():
    os.environ["DJANGO_SETTINGS_MODULE"] = "none"  # Celery's Django fix-up asks for it
    settings.configure(
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "simpletask2_celery",
            "tests.support.checked",
        ],
        DATABASES={
            # Nobody answers there: a check that asked would fail.
            alias: {
                "ENGINE": "django.db.backends.postgresql",
                "HOST": "127.0.0.1",
                "PORT": 1,
                "NAME": "none",
            }
            for alias in ("default", "other")
        },
        CHECKED_CAR_MODEL="checked.Replacement",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
        CELERY_DB_REUSE_MAX=100,
    )
    Celery("checked", broker="memory://").config_from_object(
        "django.conf:settings", namespace="CELERY"
    )
    django.setup()
    by_model = {}
    for one in run_checks():
        name = getattr(one.obj, "__name__", str(one.obj))
        by_model.setdefault(name, []).append([one.id, one.msg, one.hint])
    print(json.dumps(by_model))


main()
