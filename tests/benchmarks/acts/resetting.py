"""Auto-reset of rows whose lease is over, by ours or by the original."""

import time

from tests.benchmarks.acts.memory import peak
from tests.benchmarks.simple import models


def reset():
    return _reset(models.Task)


def reset_heavy():
    return _reset(models.Heavy)


def publish_due():
    """Publish durable rows whose time has come."""
    from celery import current_app

    found = _reset(models.Durable)
    assert current_app.control.purge() == found["rows"]
    return found


def _reset(model):
    model.objects.exists()  # connects
    before = peak()
    began = time.perf_counter()
    count = model.do_auto_reset()
    seconds = time.perf_counter() - began
    return {"rows": count, "seconds": seconds, "before": before, "peak": peak()}
