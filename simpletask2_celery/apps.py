"""Start-up: register the tasks, the checks and beat's entries."""

from typing import Any

from celery.signals import worker_init, worker_ready
from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SimpleTask2CeleryConfig(AppConfig):
    """The Django app. It has no tables of its own."""

    name = "simpletask2_celery"
    verbose_name = _("Simple tasks on Celery")

    def ready(self) -> None:
        """Wire the package to Celery, once the models are loaded."""
        from . import checks, tasks  # noqa: F401  registers the tasks
        from .recovery import schedule

        checks.register()
        schedule.add_entries()
        worker_init.connect(_begin_worker)


def _begin_worker(sender: Any, **kwargs: object) -> None:
    """Do what only workers do. Other processes do not even import it."""
    from .conf import conf
    from .fast.clients import OneClient
    from .legacy import mover
    from .recovery import keeper, overdue
    from .rows import greenlets, no_fork, sessions
    from .running import executor  # noqa: F401  before the pool forks, whose children share it

    worker_ready.connect(no_fork.remember_pool)
    keeper.begin(sender)
    sessions.keep_track()
    greenlets.begin()
    if conf.shortcuts:
        sender.app.steps["consumer"].add(OneClient)
    mover.run_when_ready()
    overdue.run_when_ready()
