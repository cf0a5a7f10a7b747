"""Leases are written and judged by the database's clock."""

import datetime

import pytest
from django.utils import timezone

from simpletask2_celery import clock, state
from tests.support.project.jobs.models import Job

TEN_MINUTES = datetime.timedelta(minutes=10)


@pytest.mark.parametrize("wrong", [TEN_MINUTES, -TEN_MINUTES])
def test_a_wrong_clock_counts_no_lease_as_over_and_gives_none_for_minutes(
    using, monkeypatch, wrong
):
    row = Job.objects.using(using).create()
    true_now = timezone.now
    state.claim(Job, using, row.pk)
    clock.forget()
    monkeypatch.setattr(timezone, "now", lambda: true_now() + wrong)
    assert abs(clock.now(using) - true_now()) < datetime.timedelta(seconds=1)
    assert Job.do_auto_reset() == 0
    row.refresh_from_db()
    assert row.status == row.DOING
    other = Job.objects.using(using).create()
    state.claim(Job, using, other.pk)
    other.refresh_from_db()
    assert abs(other.auto_reset_time - true_now()) < datetime.timedelta(seconds=310)


def test_a_clock_that_agrees_is_left_alone(using, django_assert_num_queries):
    from django.db import connections

    clock.now(using)
    with django_assert_num_queries(0, connection=connections[using]):
        assert abs(clock.now(using) - timezone.now()) < datetime.timedelta(seconds=0.1)


def test_naive_times(using, settings):
    settings.USE_TZ = False
    assert abs(clock.now(using) - timezone.now()) < datetime.timedelta(seconds=0.1)
