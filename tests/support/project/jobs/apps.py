"""``CHILD_METRICS`` has a process count; of a worker it is the port that shows them.

``CHILD_SIGNALS`` is a file that all processes write to which signals they have sent.
"""

import json
import os

from celery.signals import worker_ready
from django.apps import AppConfig


class JobsConfig(AppConfig):
    name = "tests.support.project.jobs"

    def ready(self):
        if "CHILD_METRICS" in os.environ:
            from prometheus_client import Counter

            from simpletask2_celery import metrics

            metrics.connect()
            Counter("jobs_own", "A metric of the project's: its processes.").inc()
            worker_ready.connect(serve)
        if "CHILD_SIGNALS" in os.environ:
            from simpletask2_celery import signals

            for signal in vars(signals).values():
                if isinstance(signal, signals.TaskSignal):
                    signal.connect(write_down)


def serve(**kwargs):
    from prometheus_client import start_http_server

    from simpletask2_celery import metrics

    port = int(os.environ["CHILD_METRICS"])
    start_http_server(port, addr="127.0.0.1", registry=metrics.registry())


def write_down(signal, task_info, using, reason=None, success=None, **kwargs):
    """Write a line with the signal and its process; one write is never cut by another."""
    from simpletask2_celery import signals

    [name] = [name for name, one in vars(signals).items() if one is signal]
    sent_by = {"process": os.getpid(), "parent": os.getppid()}
    line = {"name": name, "row": [using, task_info], "reason": reason, "success": success}
    with open(os.environ["CHILD_SIGNALS"], "a") as file:
        file.write(json.dumps({**line, **sent_by}) + "\n")
