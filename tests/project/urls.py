from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("django-simpletask2/", include("simpletask2_celery.urls")),
]
