from celery import Celery

app = Celery("benchmarks")
app.config_from_object("django.conf:settings", namespace="CELERY")
if app.conf["BENCH_SIDE"] == "hand":
    app.autodiscover_tasks(["tests.benchmarks.plain"], related_name="hand")
