try:
    from django.tasks import task
except ImportError:  # before Django 6.0
    from django_tasks import task

from . import job


@task()
def greet(pk):
    job.greet(pk)
