import os
from pathlib import Path

VAR = Path(os.environ.get("DEMO_DIR") or Path(__file__).parent.parent / "var")
SECRET_KEY = "only for the example"
DEBUG = True
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "simpletask2_celery",
    "shop.tasksapp",
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
STATIC_URL = "static/"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR / "demo.sqlite3",
        # Writers wait for each other instead of failing with "database is locked".
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL",
        },
    }
}
REDIS = os.environ.get("DEMO_REDIS_URL", "redis://127.0.0.1:6379/0")
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS,
        "KEY_PREFIX": "simpletask2-demo",
    }
}
CELERY_BROKER_URL = REDIS
# Another project on the same Redis has a queue "celery", too.
CELERY_BROKER_TRANSPORT_OPTIONS = {"global_keyprefix": "simpletask2-demo:"}
CELERY_DB_REUSE_MAX = 100000
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
DJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = 2
