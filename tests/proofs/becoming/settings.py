"""Settings of the project's processes: ``BECOMING_DATABASE`` is a URL, or the path of a file."""

import os

from tests.support.database import RUN, server

DATABASE = os.environ["BECOMING_DATABASE"]
SECRET_KEY = f"becoming, {RUN}"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["simpletask2_celery", "tests.proofs.becoming.shop"]
DATABASES = {
    "default": server(DATABASE)
    if "://" in DATABASE
    else {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL;",
        },
    }
}
CELERY_BROKER_URL = os.environ["TEST_BROKER_URL"]
CELERY_TASK_DEFAULT_QUEUE = f"{RUN}.becoming"
CELERY_CONTROL_EXCHANGE = f"{RUN}.becoming.control"
CELERY_DB_REUSE_MAX = 100000
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
DJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = 1.0
