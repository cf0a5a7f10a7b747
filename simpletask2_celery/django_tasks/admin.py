"""Function tasks in the admin: to be seen and steered, and not to be written by hand."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..admin import SimpleTaskAdmin
from .models import FunctionTask


@admin.register(FunctionTask)
class FunctionTaskAdmin(SimpleTaskAdmin):
    """The list shows the path of the function, and its page the arguments and the errors."""

    search_fields = ["pk", "task_path"]
    readonly_fields = ["task_path", "args", "kwargs", "priority", "queue_name", "backend"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody enqueues from the admin: it could call any task with any arguments."""
        return False

    @admin.display(description=_("Task path"), ordering="task_path")
    def task_name(self, row: Any) -> str:
        """Return the path of the function: the link to the row's page."""
        return str(row.task_path)
