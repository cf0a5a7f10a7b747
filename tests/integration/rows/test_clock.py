"""Leases are written and judged by the database's clock, whatever this machine's says."""

import datetime
import time
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core import mail
from django.db import connections
from django.utils import timezone
from freezegun import freeze_time

from simpletask2_celery.rows import claiming, clock
from simpletask2_celery.testing import run
from tests.support.project.jobs.models import Job

TEN_MINUTES = datetime.timedelta(minutes=10)
SECOND = datetime.timedelta(seconds=1)
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
FREEZES = {
    "freezegun": lambda: freeze_time(LONG_AGO),
    "time-machine": lambda: time_machine.travel(LONG_AGO, tick=False),
}


@pytest.fixture
def in_production(monkeypatch):
    """Go by the database's clock: in a test there is one clock for all."""
    monkeypatch.delattr(mail, "outbox")


@pytest.mark.parametrize("wrong", [TEN_MINUTES, -TEN_MINUTES])
def test_a_wrong_clock_counts_no_lease_as_over_and_gives_none_for_minutes(
    using, monkeypatch, in_production, wrong
):
    row = Job.objects.using(using).create()
    true_now = timezone.now
    claiming.claim(Job, using, row.pk)
    clock.forget()
    monkeypatch.setattr(timezone, "now", lambda: true_now() + wrong)
    assert abs(clock.now(using) - true_now()) < SECOND
    assert Job.do_auto_reset() == 0
    row.refresh_from_db()
    assert row.status == row.DOING
    other = Job.objects.using(using).create()
    claiming.claim(Job, using, other.pk)
    other.refresh_from_db()
    assert abs(other.auto_reset_time - true_now()) < datetime.timedelta(seconds=310)


def test_a_clock_that_agrees_is_left_alone(using, django_assert_num_queries, in_production):
    clock.now(using)
    with django_assert_num_queries(0, connection=connections[using]):
        assert abs(clock.now(using) - timezone.now()) < datetime.timedelta(seconds=0.1)


def test_a_clock_that_was_set_meanwhile_is_compared_again(using, monkeypatch, in_production):
    true_now, true_time = timezone.now, time.time
    for wrong in (TEN_MINUTES, -TEN_MINUTES, datetime.timedelta(0)):
        monkeypatch.setattr(timezone, "now", lambda wrong=wrong: true_now() + wrong)
        seconds = wrong.total_seconds()
        monkeypatch.setattr(time, "time", lambda seconds=seconds: true_time() + seconds)
        assert abs(clock.now(using) - true_now()) < SECOND, wrong


@pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES)
def test_a_frozen_clock_is_the_tests(using, freeze):
    objects = Job.objects.using(using)
    with freeze():
        row = run(objects.create()).row
        assert row.start_time == row.done_time == timezone.now() == LONG_AGO
        objects.create()  # which may wait five minutes
        assert Job.do_auto_reset() == 0
    assert Job.do_auto_reset() == 1
    assert abs(run(objects.create()).row.done_time - timezone.now()) < SECOND


@pytest.mark.parametrize("freeze", FREEZES.values(), ids=FREEZES)
def test_run_outside_of_a_test_goes_by_a_frozen_clock_too(using, freeze, in_production):
    objects = Job.objects.using(using)
    with freeze():
        assert run(objects.create()).row.done_time == LONG_AGO
        assert abs(clock.now(using) - LONG_AGO) > TEN_MINUTES  # a real run's
    assert abs(run(objects.create()).row.done_time - timezone.now()) < SECOND
    assert abs(clock.now(using) - timezone.now()) < SECOND


def test_naive_times(using, settings, in_production):
    settings.USE_TZ = False
    assert abs(clock.now(using) - timezone.now()) < datetime.timedelta(seconds=0.1)


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("moment", "ends"),
    [
        ("2026-06-01 00:58", "2026-06-01 01:03"),
        ("2026-03-29 01:58", "2026-03-29 03:03"),  # five minutes later; an hour is left out
        ("2026-10-25 02:58", "2026-10-25 03:03"),  # an hour comes twice: not too early
        ("2026-10-25 03:00", "2026-10-25 03:05"),
    ],
)
def test_a_lease_without_zone_is_not_over_early_when_the_clocks_change(settings, moment, ends):
    settings.USE_TZ, settings.TIME_ZONE = False, "Europe/Berlin"
    parse = datetime.datetime.fromisoformat
    assert clock.after(parse(moment), 300) == parse(ends)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Chicago", "UTC"])
@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("is_naive", [True, False])
def test_an_eta_is_the_same_moment_however_it_is_given(settings, zone, use_tz, is_naive):
    settings.USE_TZ, settings.TIME_ZONE = use_tz, zone
    wanted = datetime.datetime(2027, 7, 1, 12, tzinfo=datetime.UTC)
    local = wanted.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    given = local if is_naive else wanted
    assert clock.aware(given) == wanted
    assert clock.stored(given) == (wanted if use_tz else local)
