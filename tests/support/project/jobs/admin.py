from django.contrib import admin

from simpletask2_celery.admin import SimpleTaskAdmin
from simpletask2_celery.admin.actions import (
    force_do_selected_tasks,
    mark_selected_tasks_done,
    reset_selected_tasks,
)

from .models import (
    AsyncJob,
    ChannelJob,
    ChildJob,
    CodeJob,
    DurableJob,
    DurableSteps,
    Job,
    Steps,
    UuidJob,
)

admin.site.register([Job, UuidJob, CodeJob, ChildJob, DurableJob, DurableSteps], SimpleTaskAdmin)


@admin.register(ChannelJob)
class ChannelJobAdmin(SimpleTaskAdmin):
    list_display = [*SimpleTaskAdmin.list_display, "task_channel"]


@admin.register(Steps)
class StepsAdmin(SimpleTaskAdmin):
    search_fields = ["pk", "note"]


@admin.register(AsyncJob)
class PlainAdmin(admin.ModelAdmin):
    """As users of the original have it."""

    readonly_fields = AsyncJob.SIMPLE_TASK_FIELDS
    list_display = ["pk", "status", "current_step_display", "get_channel_name"]
    actions = [reset_selected_tasks, force_do_selected_tasks, mark_selected_tasks_done]


server_site = admin.AdminSite(name="server_admin")


@admin.register(Job, ChildJob, site=server_site)
class ServerAdmin(SimpleTaskAdmin):
    """Rows of the other database."""

    def get_queryset(self, request):
        return super().get_queryset(request).using("server")
