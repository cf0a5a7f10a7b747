"""What the app adds to django.setup() of a project that has Celery and a model."""

import os
import statistics
import tempfile

from tests.benchmarks import processes

BASE = ["django.contrib.contenttypes", "django.contrib.auth"]


def imports(quick):
    rounds = 3 if quick else 20
    times = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:  # compiled once, as pip does it
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(1 + rounds):
            for name, apps in (("without", BASE), ("with", [*BASE, "simpletask2_celery"])):
                said = processes.say("tests.benchmarks.setting_up", *apps, environment=environ)
                times[name].append(said)
    without, more = (statistics.median(found[1:]) for found in times.values())
    return {
        "title": f"`django.setup()` with the app and without, ms (medians of {rounds})",
        "head": ["without", "with", "difference"],
        "lines": [[f"{without:.1f}", f"{more:.1f}", f"{more - without:.1f}"]],
        "ms": more - without,
    }
