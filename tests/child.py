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


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.project.settings"
    django.setup()
    {"run": run, "save": save, "save_again": save_again}[sys.argv[1]](*sys.argv[2:])
