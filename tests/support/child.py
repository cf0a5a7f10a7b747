"""The other process of a test: ``python -m tests.support.child run|save …``."""

import json
import logging
import os
import sys

import django

from simpletask2_celery.publishing import to_celery, to_lists
from tests.support.clock import clock


def say(what):
    print(json.dumps(what), flush=True)


def run():
    """Run the rows that each line names; say the code of each, 0 for DONE by us."""
    from simpletask2_celery.exceptions import DjangoSimpleTask2Error
    from simpletask2_celery.rows import lookup
    from simpletask2_celery.running import executor

    say("ready")
    for line in sys.stdin:
        using, *names = json.loads(line)
        codes = []
        for name in names:
            label, _, pk = name.partition(":")
            app, _, model = label.partition(".")
            found = lookup.named_model(app, model)
            try:
                executor.run(found, using, pk)
                codes.append(0)
            except DjangoSimpleTask2Error as error:
                codes.append(error.code)
        say(codes)


def save(usings, count, errors=()):
    """For each database say how long a save took, ``count`` more, and what is saved."""
    from tests.support.project.jobs.models import Job

    for using in usings.split(","):
        to_celery.breaker._until = to_lists.breaker._until = 0.0
        Job.objects.using(using).first()
        began = clock()
        rows = [Job.objects.using(using).create()]
        first = clock() - began
        began = clock()
        rows += [Job.objects.using(using).create() for _ in range(int(count))]
        more = clock() - began
        keys = [row.pk for row in rows]
        say({"first": first, "more": more, "rows": keys, "errors": [*errors]})


def save_again(using):
    """Save two rows; after "go" do as save, and say what was logged as an error."""
    from tests.support.project.jobs.models import Job

    errors = _listen(logging.ERROR)
    say({"rows": [Job.objects.using(using).create().pk for _ in range(2)]})
    sys.stdin.readline()
    save(using, 100, errors)


def told(usings):
    """Save a row in each database, say what its signal has told and what was logged."""
    from simpletask2_celery.signals import task_published
    from tests.support.project.jobs.models import Job

    found = []

    def hear(task_info, using, **kwargs):
        found.append([using, task_info])

    task_published.connect(hear)
    logged = _listen(logging.WARNING)
    rows = [Job.objects.using(using).create() for using in usings.split(",")]
    named = [[row._state.db, row.get_task_info()] for row in rows]
    say({"rows": named, "told": found, "logged": logged})


def _listen(level):
    """Return a list that has what is logged from a level on, traceback and all."""
    lines, handler = [], logging.Handler(level)
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))
    logging.getLogger().addHandler(handler)
    return lines


def scrape():
    """Say the page of metrics, and how many seconds it took."""
    from django.test import Client

    began = clock()
    page = Client().get("/metrics").text
    say({"page": page, "seconds": clock() - began})


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.project.settings"
    django.setup()
    acts = [run, save, save_again, told, scrape]
    {act.__name__: act for act in acts}[sys.argv[1]](*sys.argv[2:])
