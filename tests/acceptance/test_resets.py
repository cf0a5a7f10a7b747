"""Resets by real workers and beats."""

import json
import subprocess
import sys

import pytest

from tests.support import ALIASES
from tests.support.clock import clock
from tests.support.fixtures import ROOT, environ, wait_until
from tests.support.project.jobs.models import Job
from tests.support.rows import on_each, overdue

BOTH = pytest.mark.django_db(transaction=True, databases=ALIASES)


@BOTH
def test_resets_do_not_wait_behind_a_backlog(worker):
    """The worker is busy for minutes; the rows whose lease is over are reset at once."""
    for alias in ALIASES:
        Job.objects.using(alias).bulk_create([Job(what="slow") for _ in range(300)])
        Job.publish_many(Job.objects.using(alias).all())  # half a minute of them
    lost = [Job.objects.using(alias).latest("pk") for alias in ALIASES]
    process = worker(children=1)
    wait_until(lambda: Job.objects.filter(status=30).exists(), what=process.log)
    for row in lost:
        overdue(row._state.db, row)
    ready = [Job.objects.using(r._state.db).filter(pk=r.pk, status=10) for r in lost]
    wait_until(lambda: all(rows.exists() for rows in ready), 15, process.log)
    assert sum(Job.objects.using(a).filter(status=30).count() for a in ALIASES) < 500


SCHEDULE = """
import json, os
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.project.settings"
from django.conf import settings
{before}
import django; django.setup()
from celery import current_app
current_app.finalize()  # as beat does
schedule = current_app.conf.beat_schedule
print(json.dumps({{name: [e["task"], e["schedule"]] for name, e in schedule.items()}}))
"""
KEEPS = "os.environ['TEST_KEEP_DONE'] = '60'"


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("settings.DJANGO_SIMPLETASK2_DO_AUTO_RESET = False", {}),
        (
            "settings.CELERY_BEAT_SCHEDULE = "
            "{'simpletask2-auto-reset': {'task': 'mine', 'schedule': 7}}",
            {"simpletask2-auto-reset": ["mine", 7]},
        ),
        (
            "settings.CELERY_BEAT_SCHEDULE = {'mine': {'task': 'mine', 'schedule': 7}}\n"
            "settings.DJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = 5",
            {
                "mine": ["mine", 7],
                "simpletask2-auto-reset": ["simpletask2_celery.do_auto_reset", 5],
            },
        ),
        (
            KEEPS,
            {
                "simpletask2-auto-reset": ["simpletask2_celery.do_auto_reset", 1],
                "simpletask2-prune": ["simpletask2_celery.do_prune", 3600],
            },
        ),
        (f"settings.DJANGO_SIMPLETASK2_DO_AUTO_RESET = False; {KEEPS}", {}),
    ],
)
def test_the_users_word_on_the_schedule(before, expected):
    program = SCHEDULE.format(before=before)
    command = [sys.executable, "-c", program]
    out = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert json.loads(out.stdout) == expected, out.stderr


@BOTH
def test_a_reset_does_not_wait_behind_long_tasks(worker, beat):
    """All children are busy and the worker has as many messages as it fetches."""
    for _ in range(11):
        on_each(what="hold_the_worker")
    process = worker(children=1, CHILD_INTERVAL="0.5")
    beat(CHILD_INTERVAL="0.5")
    doing = [Job.objects.using(alias).filter(status=20) for alias in ALIASES]
    wait_until(lambda: any(rows.exists() for rows in doing), 30, process.log)
    gone = on_each()
    waiting = [Job.objects.using(r._state.db).filter(pk=r.pk, status=10) for r in gone]
    for most in (30, 4, 4):  # until beat has started; an interval, a second's slack, work
        for row in gone:
            overdue(row._state.db, row)  # its machine is gone
        began = clock()
        wait_until(lambda: all(rows.exists() for rows in waiting), 30, process.log)
        assert clock() - began < most
