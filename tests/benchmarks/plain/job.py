"""The job of a library that keeps the claim itself: load, work, mark the row done."""

from django.utils import timezone

from .models import DONE, Row


def greet(pk):
    began = timezone.now()
    row = Row.objects.get(pk=pk)
    row.greet()
    values = {"status": DONE, "success": True, "start_time": began}
    Row.objects.filter(pk=pk).update(**values, done_time=timezone.now())
