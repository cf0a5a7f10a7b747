from celery import Celery

app = Celery("proj", broker="memory://")
