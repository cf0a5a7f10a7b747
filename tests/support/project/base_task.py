"""A base class of a project's tasks, which wants to decide what ours have decided."""

import os
from pathlib import Path

from celery import Task


class Base(Task):
    autoretry_for = (Exception,)
    retry_kwargs = {"countdown": 0}
    acks_late = False
    ignore_result = False
    reject_on_worker_lost = True
    retry_on_worker_lost = True
    serializer = "pickle"

    def __call__(self, *args, **kwargs):
        self.note("call")
        return super().__call__(*args, **kwargs)

    def before_start(self, task_id, args, kwargs):
        self.note("before_start")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self.note(f"on_failure {exc.code}")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self.note(f"after_return {status}")

    def note(self, word):
        with Path(os.environ["CHILD_HOOKS"]).open("a") as file:
            file.write(f"{self.name} {word}\n")
