"""``CHILD_METRICS`` has a process count; of a worker it is the port that shows them."""

import os

from celery.signals import worker_ready
from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "tests.support.project.jobs"

    def ready(self):
        if "CHILD_METRICS" in os.environ:
            from simpletask2_celery import metrics

            metrics.connect()
            worker_ready.connect(serve)


def serve(**kwargs):
    from prometheus_client import start_http_server

    from simpletask2_celery import metrics

    port = int(os.environ["CHILD_METRICS"])
    start_http_server(port, addr="127.0.0.1", registry=metrics.registry())
