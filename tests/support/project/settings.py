import json
import os
from pathlib import Path

from tests.support import services

if "TEST_CHILD" not in os.environ:  # pytest, or one of its processes
    services.plan()

from tests.support.database import RUN, server  # noqa: E402  which asks what is planned

FOLDER = Path(os.environ["TEST_FOLDER"])

SECRET_KEY = f"tests of {RUN}"  # claims and hints of runs side by side differ by it
USE_TZ = True
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the quickest
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "test.sqlite3",
        "TEST": {"NAME": FOLDER / "test.sqlite3"},
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF",
        },
    },
    "server": server(os.environ["TEST_DATABASE_URL"]),
}
if DATABASES["server"]["ENGINE"].endswith("postgresql"):
    # These tests crash no database. The faults and the benchmarks need durable commits.
    DATABASES["server"]["OPTIONS"]["options"] = "-c synchronous_commit=off"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "simpletask2_celery",
    "simpletask2_celery.django_tasks",
    "tests.support.project.jobs",
    "tests.proofs.migration.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.support.project.urls"
STATIC_URL = "static/"
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ["TEST_REDIS_URL"],
    }
}
CELERY_BROKER_URL = os.environ.get("CHILD_BROKER_URL") or os.environ["TEST_BROKER_URL"]
CELERY_ACCEPT_CONTENT = os.environ.get("CHILD_ACCEPT_CONTENT", "json").split()
CELERY_RESULT_BACKEND = os.environ.get("CHILD_RESULT_BACKEND")
CELERY_TASK_DEFAULT_QUEUE = RUN
if "CHILD_SCHEDULE" in os.environ:
    CELERY_BEAT_SCHEDULE = json.loads(os.environ["CHILD_SCHEDULE"])
# Workers of runs side by side have the same names, and do not hear of each other.
CELERY_CONTROL_EXCHANGE = f"{RUN}.control"
CELERY_EVENT_EXCHANGE = f"{RUN}.events"
CELERY_DB_REUSE_MAX = int(os.environ.get("CHILD_REUSE", 100000) or 0)
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = "CHILD_HIJACK_ROOT_LOGGER" in os.environ
DJANGO_SIMPLETASK2_QUEUE_TEMPLATE = f"{RUN}.{{channel}}"
DJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = float(os.environ.get("CHILD_INTERVAL", 1))
DJANGO_SIMPLETASK2_ACLKEY = "the key of the tests"
DJANGO_SIMPLETASK2_TASK_PULL_TIMEOUT = 1
DJANGO_SIMPLETASK2_PUBLISH_TO = os.environ.get("CHILD_PUBLISH_TO", "celery")
DJANGO_SIMPLETASK2_LEGACY_CHANNELS = os.environ.get("CHILD_LEGACY_CHANNELS", "").split()
DJANGO_SIMPLETASK2_CHANNEL_NAME_TEMPLATE = f"{RUN}:channels:{{channel}}"
DJANGO_SIMPLETASK2_CHANNEL_FLAGS_TEMPLATE = f"{RUN}:flags:{{channel}}"
DJANGO_SIMPLETASK2_PROXY_QUEUE = os.environ.get("CHILD_PROXY_QUEUE")
DJANGO_SIMPLETASK2_SHORTCUTS = os.environ.get("TEST_SHORTCUTS") != "off"
DATABASE_ROUTERS = []
if "CHILD_FUNCTIONS_ON" in os.environ:
    DATABASE_ROUTERS = [f"tests.support.project.routers.{os.environ['CHILD_FUNCTIONS_ON']}"]
TASKS = {
    "default": {
        "BACKEND": "simpletask2_celery.django_tasks.CeleryBackend",
        "QUEUES": ["default", "mail"],
    },
    "tried": {
        "BACKEND": "simpletask2_celery.django_tasks.CeleryBackend",
        "OPTIONS": {"autoretry_for": ["builtins.KeyError"], "default_retry_delay": 0},
    },
}
DJANGO_SIMPLETASK2_HEARTBEAT = float(os.environ.get("CHILD_HEARTBEAT", 0))
DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = "CHILD_ENFORCE_TIMEOUT" in os.environ
DJANGO_SIMPLETASK2_MAX_LOST_RUNS = int(os.environ.get("CHILD_MAX_LOST_RUNS", 5))
