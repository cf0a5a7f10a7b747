import os

from tests.support.database import RUN, server

ORIGINAL = os.environ["MIGRATION_SIDE"] == "original"
SECRET_KEY = "tests"
USE_TZ = True
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "tests.proofs.migration.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": server(os.environ["TEST_DATABASE_URL"])}
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ["TEST_REDIS_URL"] + "?decode_responses=True",
    }
}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django_simpletask2" if ORIGINAL else "simpletask2_celery",
    "tests.proofs.migration.shop",
]
CELERY_BROKER_URL = os.environ["TEST_BROKER_URL"]
CELERY_TASK_DEFAULT_QUEUE = f"{RUN}.migration"
CELERY_DB_REUSE_MAX = 100000
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
DJANGO_SIMPLETASK2_ACLKEY = "the key of the tests"
DJANGO_SIMPLETASK2_CHANNEL_NAME_TEMPLATE = f"{RUN}:migration:channels:{{channel}}"
DJANGO_SIMPLETASK2_CHANNEL_FLAGS_TEMPLATE = f"{RUN}:migration:flags:{{channel}}"
DJANGO_SIMPLETASK2_PUBLISH_TO = os.environ.get("CHILD_PUBLISH_TO", "celery")
DJANGO_SIMPLETASK2_LEGACY_CHANNELS = os.environ.get("CHILD_LEGACY_CHANNELS", "").split()
