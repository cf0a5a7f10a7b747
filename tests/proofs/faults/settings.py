"""Settings of the matrix's processes: a lane says in the environment what they are."""

import os
from pathlib import Path

os.environ.setdefault("TEST_RUN", "faults")  # which tests.support.database asks for

from tests.support.database import server  # noqa: E402

FOLDER = Path(os.environ["FAULTS_FOLDER"])
BROKER = os.environ["FAULTS_BROKER_URL"]
LEASE = int(os.environ["FAULTS_LEASE"])


def sqlite(name, pragmas=""):
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / name,
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL;" + pragmas,
        },
    }


SECRET_KEY = "faults"
USE_TZ = True
DATABASES = {
    "default": (
        sqlite("rows.sqlite3")
        if os.environ["FAULTS_DATABASE_URL"] == "sqlite"
        else server(os.environ["FAULTS_DATABASE_URL"])
    ),
    # Apart from the rows: what handlers note must outlive the fault.
    "ledger": sqlite("ledger.sqlite3", "PRAGMA synchronous=OFF"),
}
DATABASE_ROUTERS = ["tests.proofs.faults.shop.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["simpletask2_celery", "tests.proofs.faults.shop"]
if BROKER.startswith("redis"):  # as a project with one Redis for everything
    CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": BROKER},
    }
    # A Redis that freezes says nothing: without a timeout a worker would wait for ever.
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "socket_timeout": 10,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
CELERY_BROKER_URL = BROKER
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_DB_REUSE_MAX = 100000
DJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = 1.0
DJANGO_SIMPLETASK2_SHORTCUTS = os.environ.get("TEST_SHORTCUTS") != "off"
