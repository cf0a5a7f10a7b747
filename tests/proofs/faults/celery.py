from celery import Celery

app = Celery("faults")
app.config_from_object("django.conf:settings", namespace="CELERY")
