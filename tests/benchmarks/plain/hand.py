"""The Celery task that one would write by hand: claim, load, work, finish if still mine.

And what no task gets below that claims and finishes its row durably.
"""

from functools import cache

from celery import shared_task
from django.db import connection
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
def fetch(pk, url):
    """Have a page fetched between claim and finish, and hold no connection meanwhile."""
    token = timezone.now()
    waiting = Row.objects.filter(pk=pk, status=READY)
    if not waiting.update(status=DOING, start_time=token):
        return
    Row.objects.get(pk=pk)
    connection.close()
    answer = session().get(url, timeout=30)
    mine = Row.objects.filter(pk=pk, status=DOING, start_time=token)
    mine.update(status=DONE, success=answer.ok, done_time=timezone.now())
    connection.close()


@cache
def session():
    import requests  # not in the memory of the workers that need none

    made = requests.Session()
    made.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=200))
    return made


@shared_task(acks_late=True, ignore_result=True)
def least(pk):
    """Claim and finish by the driver alone: no model, no ORM, no signals."""
    connection.ensure_connection()
    cursor = connection.connection.cursor()
    cursor.execute(
        "UPDATE plain_row SET status = 20, start_time = now() "
        "WHERE id = %s AND status = 10 RETURNING *",
        [pk],
    )
    cursor.fetchone()
    cursor.execute(
        "UPDATE plain_row SET status = 30, success = true, done_time = now() "
        "WHERE id = %s AND status = 20",
        [pk],
    )


@shared_task(acks_late=True, ignore_result=True)
def nothing(number):
    pass
