"""Auto-reset of rows whose lease is over, by ours or by the original."""

import time

from tests.benchmarks.acts.memory import peak
from tests.benchmarks.simple.models import Task


def reset():
    Task.objects.exists()  # connects
    before = peak()
    began = time.perf_counter()
    count = Task.do_auto_reset()
    seconds = time.perf_counter() - began
    return {"rows": count, "seconds": seconds, "before": before, "peak": peak()}
