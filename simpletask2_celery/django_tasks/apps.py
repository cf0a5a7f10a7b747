"""The app of function tasks."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class FunctionTasksConfig(AppConfig):
    """The app; it has the one table of the package."""

    name = "simpletask2_celery.django_tasks"
    label = "simpletask2_tasks"
    verbose_name = _("Function tasks")
    default_auto_field = "django.db.models.BigAutoField"
