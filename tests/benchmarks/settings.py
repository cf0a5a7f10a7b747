"""Settings of the benchmark's processes: BENCH_SIDE says whose project it is."""

import json
import os

from tests.support.database import RUN, server

SIDE = os.environ["BENCH_SIDE"]
QUEUE = os.environ["BENCH_QUEUE"]  # of one measurement alone: nothing is left from others
BENCH_SIDE = SIDE

#: Each project has what it needs and no more: its size in memory is measured, too.
OURS = "simpletask2_celery"
LIBRARY = {"ours": OURS, "tasks": OURS, "original": "django_simpletask2"}.get(SIDE)
INSTALLED_APPS = {
    "ours": [OURS, "tests.benchmarks.simple"],
    "tasks": [OURS, f"{OURS}.django_tasks", "tests.benchmarks.plain"],
    "original": ["django_simpletask2", "tests.benchmarks.simple"],
    "hand": ["tests.benchmarks.plain"],
    "procrastinate": ["procrastinate.contrib.django", "tests.benchmarks.plain"],
    "django_tasks": ["django_tasks_db", "tests.benchmarks.plain"],
}[SIDE]

SECRET_KEY = "benchmarks"
USE_TZ = True
ALLOWED_HOSTS = ["127.0.0.1"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": server(os.environ["TEST_DATABASE_URL"])}
DATABASES["default"].update(json.loads(os.environ.get("BENCH_DATABASE", "{}")))

CELERY_BROKER_URL = os.environ["TEST_BROKER_URL"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_DEFAULT_QUEUE = QUEUE
if "BENCH_REUSE" in os.environ:
    CELERY_DB_REUSE_MAX = 100000

PROCRASTINATE_AUTODISCOVER_MODULE_NAME = "procrastinate_job"
BACKENDS = {"tasks": f"{OURS}.django_tasks.CeleryBackend"}
TASKS = {"default": {"BACKEND": BACKENDS.get(SIDE, "django_tasks_db.DatabaseBackend")}}

if "BENCH_EGRESS" in os.environ:
    DJANGO_SIMPLETASK2_PROXY_QUEUE = os.environ["BENCH_EGRESS"]

if SIDE == "original":
    ROOT_URLCONF = "tests.benchmarks.urls"
if LIBRARY:
    INSTALLED_APPS.insert(0, "django.contrib.contenttypes")
    redis = os.environ["TEST_REDIS_URL"]
    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": redis + "?decode_responses=True",
        }
    }
    DJANGO_SIMPLETASK2_ACLKEY = "the key of the benchmark"
    DJANGO_SIMPLETASK2_CHANNEL_NAME_TEMPLATE = f"{RUN}:{QUEUE}:channels:{{channel}}"
    DJANGO_SIMPLETASK2_CHANNEL_FLAGS_TEMPLATE = f"{RUN}:{QUEUE}:flags:{{channel}}"
