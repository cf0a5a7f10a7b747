from django.conf import settings
from django.http import HttpResponse
from django.urls import include, path

urlpatterns = [
    path("page", lambda request: HttpResponse("a page")),
    path("django-simpletask2/", include(f"{settings.INSTALLED_APPS[1]}.urls")),
]
