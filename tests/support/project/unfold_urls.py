"""An admin of django-unfold, whose classes and site are its own."""

from django.urls import path
from unfold.admin import ModelAdmin
from unfold.sites import UnfoldAdminSite

from simpletask2_celery.admin import SimpleTaskAdminMixin

from .jobs.models import ChannelJob, Job, Steps, UuidJob


class TaskAdmin(SimpleTaskAdminMixin, ModelAdmin):
    pass


site = UnfoldAdminSite(name="admin")
site.register([ChannelJob, Job, Steps, UuidJob], TaskAdmin)
urlpatterns = [path("admin/", site.urls)]
