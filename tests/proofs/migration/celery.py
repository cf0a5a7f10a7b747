from celery import Celery

app = Celery("migration")
app.config_from_object("django.conf:settings", namespace="CELERY")
