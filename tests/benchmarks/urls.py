from django.urls import include, path

urlpatterns = [path("django-simpletask2/", include("django_simpletask2.urls"))]
