"""The tasks that the tests enqueue; their module is not in what is published."""

import sys
import time

try:
    from django.tasks import TaskContext, task
except ImportError:  # before Django 6.0
    from django_tasks import TaskContext, task


@task()
def noop_task(*args, **kwargs):
    return None


@task
async def noop_task_async(*args, **kwargs):
    return None


@task()
def calculate_meaning_of_life():
    return 42


@task()
def failing_task_value_error():
    raise ValueError("This task failed due to ValueError")


@task()
def complex_exception():
    raise ValueError(ValueError("This task failed"))


@task()
def complex_return_value():
    return lambda: True


@task()
def exit_task():
    sys.exit(1)


@task(takes_context=True)
def get_task_id(context):
    return context.task_result.id


@task(takes_context=True)
def test_context(context, attempt):
    assert isinstance(context, TaskContext)
    assert context.attempt == attempt


@task()
def sleep_for(seconds):
    time.sleep(seconds)
