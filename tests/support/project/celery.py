import os

from celery import Celery

app = Celery("project", task_cls=os.environ.get("CHILD_TASK_CLS"))
app.config_from_object("django.conf:settings", namespace="CELERY")
