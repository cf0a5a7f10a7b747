"""One project, run by the original or by ours: DIFFERENTIAL_SIDE says by which."""

import os
from pathlib import Path
from urllib.parse import urlsplit

SIDE = os.environ["DIFFERENTIAL_SIDE"]
LIBRARY = {"original": "django_simpletask2", "ours": "simpletask2_celery"}[SIDE]
REDIS_DB = {"original": 14, "ours": 15}[SIDE]


def redis_url():
    """Return a database of the tests' Redis for this side alone, to answer in text."""
    parts = urlsplit(os.environ["TEST_REDIS_URL"])
    query = "&".join(filter(None, [parts.query, "decode_responses=True"]))
    return parts._replace(path=f"/{REDIS_DB}", query=query).geturl()


SECRET_KEY = "differential"
ALLOWED_HOSTS = ["testserver"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(os.environ["DIFFERENTIAL_FOLDER"], f"{SIDE}.sqlite3"),
        "OPTIONS": {"init_command": "PRAGMA synchronous=OFF"},  # no waiting for a disk
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    LIBRARY,
    "tests.proofs.differential.shop",
]
ROOT_URLCONF = "tests.proofs.differential.urls"
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url()}}
LOGGING_CONFIG = None
DJANGO_SIMPLETASK2_ACLKEY = "key"
DJANGO_SIMPLETASK2_TASK_PULL_TIMEOUT = 1
DJANGO_SIMPLETASK2_PUBLISH_TO = "redis"  # ours: to the very lists of the original
# The original: refuse a row that is locked, as its 2910013 says, and do not wait for it.
DJANGO_SIMELETASK2_GLOBAL_LOCK_CONFIG = {
    "global_lock_engine_class": "globallock.django_redis_global_lock.DjangoRedisGlobalLock",
    "global_lock_engine_options": {"redis-cache-name": "default"},
    "blocking": False,
}
