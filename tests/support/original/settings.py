SECRET_KEY = "tests"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "simpletask2_celery",
    "tests.support.original.legacy",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
