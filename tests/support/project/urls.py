from django.contrib import admin
from django.urls import include, path

from simpletask2_celery import metrics

from .jobs.admin import server_site

urlpatterns = [
    path("admin/", admin.site.urls),
    path("server-admin/", server_site.urls),
    path("django-simpletask2/", include("simpletask2_celery.urls")),
    path("metrics", metrics.view),
]
