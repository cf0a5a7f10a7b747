from django.contrib import admin

from simpletask2_celery.admin import SimpleTaskAdmin

from .models import ExportTask, HelloTask, MailTask, PaymentTask, WorldTask

admin.site.site_header = admin.site.site_title = "Demo (times in UTC)"


def register(model, *columns):
    """Show a model's rows, with these columns beside the task's own."""
    name, *others = SimpleTaskAdmin.list_display
    admin.site.register(model, SimpleTaskAdmin, list_display=[name, *columns, *others])


register(HelloTask, "greeting")
register(WorldTask, "content")
register(PaymentTask, "outcome")
register(ExportTask, "progress")
register(MailTask, "answer")
