from celery import Celery

app = Celery("becoming")
app.config_from_object("django.conf:settings", namespace="CELERY")
