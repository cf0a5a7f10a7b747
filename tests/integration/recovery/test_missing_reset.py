"""A reset that is missing: one worker runs it."""

import pytest
from celery import current_app
from django.core.management import call_command

from simpletask2_celery.recovery import auto_reset, hints, overdue
from tests.support.fixtures import queued
from tests.support.project.jobs.models import Job

BOTH = pytest.mark.django_db(transaction=True, databases=["default", "server"])


pytestmark = BOTH


def test_a_reset_needs_no_cache(monkeypatch, settings):
    monkeypatch.setattr(hints, "caches", {})
    Job.objects.bulk_create([Job()])
    assert auto_reset.run()["jobs.job"] == 1
    assert auto_reset.age() is None and hints.be_first("asked-for", 1)


def test_of_many_workers_one_runs_it(monkeypatch):
    ran = []
    monkeypatch.setattr(auto_reset, "run", lambda: ran.append(1))
    watches = [overdue.Watch() for _ in range(3)]
    for watch in watches:
        watch._since -= 60
        watch.look()
    assert ran == [1]


def test_where_resets_are_not_wanted_nobody_watches(settings):
    settings.DJANGO_SIMPLETASK2_DO_AUTO_RESET = False

    class Sender:
        app = current_app._get_current_object()

    assert overdue.watch_of(Sender) is None


def test_the_command_for_cron(capsys):
    Job.objects.bulk_create([Job(), Job()])
    call_command("simpletask2_auto_reset")
    assert capsys.readouterr().out == "jobs.job: 2\n"
    assert len(queued()) == 2 and auto_reset.age() < 5
