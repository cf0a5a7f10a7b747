from django.conf import settings
from django.urls import include, path

urlpatterns = [path("django-simpletask2/", include(f"{settings.LIBRARY}.urls"))]
