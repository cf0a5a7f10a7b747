from django.contrib import admin

from simpletask2_celery.actions import (
    force_do_selected_tasks,
    mark_selected_tasks_done,
    reset_selected_tasks,
)

from .models import HelloTask, WorldTask


@admin.register(HelloTask, WorldTask)
class TaskAdmin(admin.ModelAdmin):
    list_display = ["__str__", "status", "current_step_display", "success", "done_time"]
    readonly_fields = HelloTask.SIMPLE_TASK_FIELDS
    actions = [reset_selected_tasks, force_do_selected_tasks, mark_selected_tasks_done]
