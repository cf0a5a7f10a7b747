"""Start-up: register the tasks, the checks and beat's entry."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SimpleTask2CeleryConfig(AppConfig):
    """The Django app. It has no tables of its own."""

    name = "simpletask2_celery"
    verbose_name = _("Simple tasks on Celery")

    def ready(self) -> None:
        """Wire the package to Celery, once the models are loaded."""
        from . import (
            checks,
            legacy_channels,
            missing_reset,
            recovery,
            schedule,
            tasks,  # noqa: F401  registers them
        )

        checks.register()
        schedule.add_entry()
        legacy_channels.run_in_workers()
        recovery.run_in_workers()
        missing_reset.run_in_workers()
