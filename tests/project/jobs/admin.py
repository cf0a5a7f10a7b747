from django.contrib import admin

from simpletask2_celery.actions import (
    force_do_selected_tasks,
    mark_selected_tasks_done,
    reset_selected_tasks,
)

from .models import Job


@admin.register(Job)
class JobAdmin(admin.ModelAdmin):
    readonly_fields = Job.SIMPLE_TASK_FIELDS
    list_display = ["pk", "status", "current_step_display", "get_channel_name"]
    actions = [reset_selected_tasks, force_do_selected_tasks, mark_selected_tasks_done]
