"""The admin, receivers and a view, with types."""

from typing import Any, assert_type

from django.contrib import admin
from django.dispatch import receiver
from django.http import HttpRequest, JsonResponse

from simpletask2_celery import health
from simpletask2_celery.admin import SimpleTaskAdmin
from simpletask2_celery.signals import task_finished

from .models import Hello


@admin.register(Hello)
class HelloAdmin(SimpleTaskAdmin):
    list_display = [*SimpleTaskAdmin.list_display, "name"]


@receiver(task_finished, sender=Hello)
def remember(sender: type[Hello], task_info: str, **kwargs: Any) -> None: ...


def well(request: HttpRequest) -> JsonResponse:
    findings = health.check()
    assert_type(findings[0].ok, bool)
    return JsonResponse({finding.name: finding.text for finding in findings})
