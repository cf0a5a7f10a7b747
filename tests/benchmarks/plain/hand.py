"""The Celery task that one would write by hand: claim, load, work, finish if still mine.

With the columns of ours and conditions like its own. And what no task gets below that claims and
finishes its row durably.
"""

from functools import cache

from celery import shared_task
from django.db import connection
from django.utils import timezone

from . import job
from .models import DOING, DONE, READY, WAIT, Twin


@shared_task(acks_late=True, ignore_result=True)
def greet(pk):
    token = timezone.now()
    row = claimed(pk, token)
    if row is not None:
        row.greet()
        finish(pk, token)


def claimed(pk, token):
    """Claim the row and load it; None where it is not to be had."""
    waiting = Twin.objects.filter(pk=pk, status=READY)
    times = {"start_time": token, "step1_time": token, "mod_time": token}
    due = token + WAIT
    if waiting.update(status=DOING, current_step=1, auto_reset_time=due, **times):
        return Twin.objects.get(pk=pk)
    return None


def finish(pk, token, success=True):
    now = timezone.now()
    mine = Twin.objects.filter(pk=pk, status=DOING, start_time=token)
    times = {"done_time": now, "mod_time": now, "auto_reset_time": None}
    mine.update(status=DONE, success=success, **times)


@shared_task(acks_late=True, ignore_result=True)
def fetch(pk, url):
    """Have a page fetched between claim and finish, and hold no connection meanwhile."""
    token = timezone.now()
    if claimed(pk, token) is None:
        return
    connection.close()
    answer = session().get(url, timeout=30)
    finish(pk, token, answer.ok)
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
    _claim_and_finish(pk, lambda: None)


@shared_task(acks_late=True, ignore_result=True)
def least_of_a_job(pk):
    """The same around the job that others give to Django's Tasks, whose row has the same key."""
    _claim_and_finish(pk, lambda: job.greet(pk))


def _claim_and_finish(pk, work):
    connection.ensure_connection()
    cursor = connection.connection.cursor()
    cursor.execute(
        "UPDATE plain_twin SET status = 20, start_time = now(), step1_time = now(), "
        "current_step = 1, auto_reset_time = now(), mod_time = now() "
        "WHERE id = %s AND status = 10 RETURNING *",
        [pk],
    )
    cursor.fetchone()
    work()
    cursor.execute(
        "UPDATE plain_twin SET status = 30, success = true, done_time = now(), "
        "auto_reset_time = NULL, mod_time = now() WHERE id = %s AND status = 20",
        [pk],
    )


@shared_task(acks_late=True, ignore_result=True)
def nothing(number):
    pass
