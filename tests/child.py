"""The other process of a test: ``python -m tests.child run|save …``."""

import json
import os
import sys
import time

import django


def say(what):
    print(json.dumps(what), flush=True)


def run(using, *names):
    """After "go", run the rows in order; say the code of each, 0 for DONE by us."""
    from simpletask2_celery import executor, task_info
    from simpletask2_celery.exceptions import DjangoSimpleTask2Error
    from simpletask2_celery.models import SimpleTask

    say("ready")
    sys.stdin.readline()
    codes = []
    for name in names:
        label, _, pk = name.partition(":")
        app, _, model = label.partition(".")
        found = task_info.resolve_model(app, model, SimpleTask)
        try:
            executor.run(found, using, pk)
            codes.append(0)
        except DjangoSimpleTask2Error as error:
            codes.append(error.code)
    say(codes)


def save(using, count, errors=()):
    """Say how long the first save took, and ``count`` more, and what is saved."""
    from tests.project.jobs.models import Job

    Job.objects.using(using).first()
    began = time.monotonic()
    rows = [Job.objects.using(using).create()]
    first = time.monotonic() - began
    began = time.monotonic()
    rows += [Job.objects.using(using).create() for _ in range(int(count))]
    more = time.monotonic() - began
    say(
        {
            "first": first,
            "more": more,
            "rows": [row.pk for row in rows],
            "errors": [*errors],
        }
    )


def save_again(using):
    """Save two rows; after "go" do as save, and say what was logged as an error."""
    import logging

    from tests.project.jobs.models import Job

    errors = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: errors.append(record.getMessage())
    logging.getLogger().addHandler(handler)
    say({"rows": [Job.objects.using(using).create().pk for _ in range(2)]})
    sys.stdin.readline()
    save(using, 100, errors)


def told(using):
    """Save a row, say what the signal of a published one has told of it."""
    from simpletask2_celery.signals import task_published
    from tests.project.jobs.models import Job

    names = []

    def hear(task_info, **kwargs):
        names.append(task_info)

    task_published.connect(hear)
    row = Job.objects.using(using).create()
    say({"row": row.get_task_info(), "told": names})


def scrape():
    """Say the page of metrics, and how many seconds it took."""
    from django.test import Client

    began = time.monotonic()
    page = Client().get("/metrics").text
    say({"page": page, "seconds": time.monotonic() - began})


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    django.setup()
    acts = [run, save, save_again, told, scrape]
    {act.__name__: act for act in acts}[sys.argv[1]](*sys.argv[2:])
