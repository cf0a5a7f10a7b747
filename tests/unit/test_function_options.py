"""Options of function tasks: their names and values, and how urgent a message is."""

import pytest

from simpletask2_celery.django_tasks import CeleryBackend, durable
from simpletask2_celery.django_tasks.models import FunctionTask
from simpletask2_celery.django_tasks.options import problems_of_backend
from tests.support.project.jobs import functions

GOOD = [
    {},
    {"autoretry_for": (ValueError, "builtins.KeyError"), "dont_autoretry_for": []},
    {"max_retries": None, "default_retry_delay": 0.5, "retry_jitter": False},
    {"retry_backoff": True, "retry_backoff_max": 60},
    {"retry_backoff": 2.5, "do_task_timeout": 1, "task_wait_timeout": 60, "atomic_steps": True},
]
BAD = [
    {"autoretry_for": ValueError},
    {"autoretry_for": [3]},
    {"autoretry_for": [int]},
    {"max_retries": -1},
    {"max_retries": True},
    {"default_retry_delay": -1},
    {"default_retry_delay": "1"},
    {"retry_backoff": "yes"},
    {"retry_backoff_max": 0},
    {"do_task_timeout": 0},
    {"do_task_timeout": float("inf")},
    {"task_wait_timeout": None},
    {"atomic_steps": 1},
    {"retries": 3},
]


@pytest.mark.parametrize("options", GOOD, ids=range(len(GOOD)))
def test_options_that_are_taken(options):
    @durable(**options)
    def function():
        return None

    assert function() is None
    assert list(problems_of_backend(options)) == []


@pytest.mark.parametrize("options", BAD, ids=range(len(BAD)))
def test_options_that_are_refused(options):
    with pytest.raises(TypeError, match=next(iter(options))):
        durable(**options)
    [problem] = problems_of_backend(options)
    assert next(iter(options)) in problem


def test_the_decorator_returns_what_it_decorates():
    task = functions.add
    assert durable(max_retries=1)(task) is task
    del task.func.simpletask2_options

    def function():
        return None

    assert durable(max_retries=1)(function) is function


@pytest.mark.parametrize("options", [["max_retries"], "max_retries", None])
def test_options_that_are_no_dict_are_reported(options):
    [problem] = problems_of_backend(options)
    assert "dict" in problem


def test_a_path_to_no_exception_is_reported():
    for path in ("builtins.Gone", "gone.Error", "os.system", "nothing"):
        problems = list(problems_of_backend({"autoretry_for": [path]}))
        assert len(problems) == 1


def row(**fields):
    return FunctionTask(task_path=functions.add.module_path, **fields)


def test_a_row_has_the_options_of_its_task_then_of_its_backend_then_the_defaults():
    again = FunctionTask(task_path=functions.try_again.module_path, backend="tried")
    assert (again.autoretry_for, again.max_retries) == ((ValueError,), 2)
    assert again.retry_backoff is False
    assert row(backend="tried").autoretry_for == (KeyError,)
    assert row().autoretry_for == row(backend="gone").autoretry_for == ()
    assert row().max_retries == FunctionTask.max_retries == 3
    assert FunctionTask.do_task_timeout == 300


def test_a_row_whose_code_is_gone_has_the_options_of_its_backend():
    gone = FunctionTask(task_path="gone.task", backend="tried")
    assert gone.autoretry_for == (KeyError,)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [(60, 3600, 3600), (60, None, None), (None, None, None), (0, 0, 0)],
)
def test_the_longest_time_of_the_backends_is_kept(settings, first, second, kept):
    path = "simpletask2_celery.django_tasks.CeleryBackend"
    settings.TASKS = {
        str(number): {"BACKEND": path, "OPTIONS": {"keep_done": seconds}}
        for number, seconds in enumerate([first, second])
    }
    assert FunctionTask.keep_done == kept


def test_ten_levels_keep_the_sign_of_a_priority():
    levels = {priority: row(priority=priority).get_urgency() for priority in range(-100, 101)}
    assert levels[0] == 5
    assert {levels[one] for one in range(1, 101)} == {7, 8, 9}
    assert {levels[one] for one in range(-100, 0)} == {0, 1, 2, 3}
    assert sorted(levels.values()) == [levels[one] for one in sorted(levels)]


def test_the_checks_of_the_settings(settings):
    backend = CeleryBackend("default", {"OPTIONS": {"max_retries": "many", "wrong": 1}})
    assert [one.id for one in backend.check()] == ["simpletask2_celery.E021"] * 2
    assert list(CeleryBackend("default", {}).check()) == []
    settings.INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"]
    [missing] = CeleryBackend("default", {}).check()
    assert missing.id == "simpletask2_celery.E020"
    assert "simpletask2_celery.django_tasks" in missing.hint
