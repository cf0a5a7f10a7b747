"""Commands of manage.py, one after another in one process: ``python at_once.py JSON``.

A process needs most of a second to import Django and Celery, and the commands of a page's
project need no process each. Those with settings of their own (``--settings``) get one
that is forked when all of the libraries are imported, and nothing of the project is.
``pytest`` is a command, too.
"""

import json
import multiprocessing
import os
import sys

import celery.app.base  # noqa: F401
import django.db.models  # noqa: F401
import redis  # noqa: F401
from django.core.management import execute_from_command_line


def execute(words):
    print(*words, flush=True)
    if words[0] != "pytest":
        execute_from_command_line(["manage.py", *words])
        return
    import pytest  # which few projects need

    if failed := pytest.main(words[1:]):
        sys.exit(failed)


def execute_in_a_fork(words):
    fork = multiprocessing.get_context("fork").Process(target=execute, args=[words])
    fork.start()
    fork.join()
    if fork.exitcode:
        sys.exit(fork.exitcode)


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "proj.settings"
    commands = json.loads(sys.argv[1])
    for words in commands:
        if "--settings" in words:
            execute_in_a_fork(words)
    for words in commands:
        if "--settings" not in words:
            execute(words)
