"""The old server's file in a project of its own."""

import subprocess
import sys

import pytest

from tests.support.fixtures import ROOT, environ
from tests.support.yaml_file import SEED

PROJECT = """
import sys
from celery import Celery
from simpletask2_celery import config_file
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["simpletask2_celery"],
    CELERY_BROKER_URL="redis://of.settings/1",
    CELERY_BEAT_SCHEDULE={"mine": {"task": "x", "schedule": 5}},
)
app = Celery("p")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(config_file.load(sys.argv[1]))
import django
django.setup()
app.finalize()
print(app.conf.broker_url, sorted(app.conf.beat_schedule),
      app.conf.beat_schedule.get("simpletask2-auto-reset", {}).get("schedule"))
"""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (SEED, "redis://:xxx@xxx:6379/0 ['mine', 'simpletask2-auto-reset'] 60"),
        ("threads: 2", "redis://of.settings/1 ['mine', 'simpletask2-auto-reset'] 60.0"),
        ("do-auto-reset-task: false", "redis://of.settings/1 ['mine'] None"),
    ],
)
def test_in_a_project(file, content, expected):
    command = [sys.executable, "-c", PROJECT, str(file(content))]
    done = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.stdout.strip() == expected, done.stderr
