"""Function tasks that are pruned, that run at once under test settings, and the testing kit."""

import datetime

import pytest
from celery import current_app
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from simpletask2_celery import testing
from simpletask2_celery.django_tasks.api import TaskResultStatus
from simpletask2_celery.django_tasks.models import FunctionTask
from simpletask2_celery.recovery import pruning
from tests.support.fixtures import queued
from tests.support.project.jobs import functions


def test_old_tasks_are_deleted(settings):
    one = {"BACKEND": "simpletask2_celery.django_tasks.CeleryBackend"}
    settings.TASKS = {"default": {**one, "OPTIONS": {"keep_done": 60}}}
    old, new, waiting = (functions.add.enqueue(number) for number in range(3))
    for result, seconds in [(old, 61), (new, 30)]:
        ended = timezone.now() - datetime.timedelta(seconds=seconds)
        FunctionTask.objects.filter(pk=result.id).update(status=30, success=True, done_time=ended)
    assert pruning.run()["simpletask2_tasks.functiontask"] == 1
    left = {str(pk) for pk in FunctionTask.objects.values_list("pk", flat=True)}
    assert left == {new.id, waiting.id}


def test_tasks_are_kept_where_no_option_says_otherwise():
    assert FunctionTask not in [model for model, _ in pruning.keeping()]


@pytest.fixture
def eager():
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = False


def test_an_eager_app_runs_a_task_at_once(eager):
    result = functions.add_later.enqueue(1, b=41)
    result.refresh()
    assert (result.return_value, result.attempts) == (42, 1)
    assert queued() == []


def test_an_eager_app_tries_again_without_a_pause(eager):
    result = functions.try_again.enqueue(2)
    result.refresh()
    assert (result.return_value, result.attempts) == (3, 3)
    failed = functions.try_again.enqueue(99)
    failed.refresh()
    assert failed.status == TaskResultStatus.FAILED


def test_the_kit_runs_what_was_enqueued():
    with testing.published() as published:
        result = functions.add.enqueue(1, b=41)
    assert len(published.messages) == 1
    assert testing.run(FunctionTask.objects.get()).data == 42
    result.refresh()
    assert result.return_value == 42


def test_a_backend_without_its_app_says_so(settings):
    settings.INSTALLED_APPS = [one for one in settings.INSTALLED_APPS if "django_tasks" not in one]
    with pytest.raises(ImproperlyConfigured, match="INSTALLED_APPS"):
        functions.add.enqueue(1)
