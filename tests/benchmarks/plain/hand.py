"""The Celery task that one would write by hand: claim, load, work, finish if still mine."""

from celery import shared_task
from django.utils import timezone

from .models import DOING, DONE, READY, Row


@shared_task(acks_late=True, ignore_result=True)
def greet(pk):
    token = timezone.now()
    waiting = Row.objects.filter(pk=pk, status=READY)
    if not waiting.update(status=DOING, start_time=token):
        return
    row = Row.objects.get(pk=pk)
    row.greet()
    mine = Row.objects.filter(pk=pk, status=DOING, start_time=token)
    mine.update(status=DONE, success=True, done_time=timezone.now())


@shared_task(acks_late=True, ignore_result=True)
def nothing(number):
    pass
