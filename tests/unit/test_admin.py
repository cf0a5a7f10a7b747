"""What the admin's cells and timelines say."""

import datetime
import uuid

import pytest
from django.utils import timezone

from simpletask2_celery.admin import cells, timeline
from tests.support.project.jobs.models import (
    Job,
    Steps,
)

MINUTE = datetime.timedelta(minutes=1)


DAY = datetime.timedelta(days=1)


def make(model, count=1, using="default", **values):
    rows = model.objects.using(using)
    return rows.bulk_create([model(**values) for _ in range(count)])


def doing(model, left, using="default", **values):
    now = timezone.now()
    values = {"status": 20, "start_time": now, "step1_time": now, **values}
    return make(model, using=using, auto_reset_time=now + left, **values)[0]


@pytest.mark.parametrize(
    ("values", "look"),
    [
        ({"status": 10}, "ready"),
        ({"status": 20, "auto_reset_time": timezone.now() + DAY}, "doing"),
        ({"status": 20, "auto_reset_time": timezone.now() - DAY}, "stale"),
        ({"status": 30, "success": True}, "done"),
        ({"status": 30, "success": False}, "failed"),
        ({"status": 30, "success": False, "current_step": 0}, "stopped"),
        ({"status": 30}, "marked"),
    ],
)
def test_each_state_has_a_look_of_words_and_icon(values, look):
    assert cells.look(Job(**values), timezone.now()) == look
    badge = cells.badge(look)
    assert str(cells.LOOKS[look][0]) in badge and "<svg" in badge


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 ms"),
        (0.0642, "64 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (9.44, "9.4 s"),
        (59.9, "59 s"),
        (200, "3 min 20 s"),
        (1100, "18 min"),
        (3900, "1 h 5 min"),
        (80000, "22 h"),
        (90000, "1 d 1 h"),
        (864000, "10 d"),
    ],
)
def test_durations_in_words(seconds, words):
    assert cells.duration(seconds) == words


def test_a_uuid_is_short_to_look_at_and_whole_to_point_at_and_to_hear():
    whole = uuid.UUID("3f2c1a9b-0000-4000-8000-000000000001")
    text = cells.key(whole)
    assert f'title="{whole}"' in text and ">3f2c1a9b…</span>" in text
    assert f'<span class="visually-hidden">{whole}</span>' in text
    assert [cells.key(value) for value in (12, "a-long-name")] == ["12", "a-long-name"]


def test_a_countdown_is_a_clock():
    assert [cells.countdown(s) for s in (5, 245, 3600)] == ["0:05", "4:05", "1:00:00"]


def test_a_timeline_tells_what_the_row_says():
    now = timezone.now().replace(microsecond=0)
    row = Steps(
        add_time=now - MINUTE,
        start_time=now - MINUTE / 2,
        step1_time=now - MINUTE / 2,
        step2_time=now - MINUTE / 3,
        status=30,
        success=False,
        current_step=2,
        done_time=now,
    )
    found = [(one.title, one.look) for one in timeline.lines(row, now)]
    assert found == [
        ("Created", "ready"),
        ("Waiting", "ready"),
        ("Step 1", "done"),
        ("Step 2", "failed"),
        ("Failed", "failed"),
    ]
    drawn = {one["title"]: one for one in timeline.draw(row, now)}
    assert (drawn["Waiting"]["x"], drawn["Waiting"]["width"]) == ("0.00", "50.00")
    assert (drawn["Step 2"]["x"], drawn["Step 2"]["width"]) == ("66.67", "33.33")
    assert drawn["Step 2"]["lasted"] == "20 s" and drawn["Step 1"]["after"] == "+ 30 s"
    assert drawn["Failed"]["x"] == "100.00" and drawn["Failed"]["width"] is None


def test_a_timeline_invents_no_time_for_steps_without_a_column():
    now = timezone.now()
    times = {f"step{step}_time": now for step in (1, 2, 3)}
    row = Steps(add_time=now, start_time=now, status=20, current_step=4, **times)
    assert [one.title for one in timeline.lines(row, now)][-1] == "Steps 3 to 4"


def test_a_ready_row_was_published_again_where_its_lease_says_so():
    now = timezone.now()
    wait = datetime.timedelta(seconds=Job.task_wait_timeout)
    row = Job(add_time=now - DAY, auto_reset_time=now - MINUTE + wait)
    [again] = [one for one in timeline.lines(row, now) if one.title == "Published again"]
    assert again.is_about and again.begin == now - MINUTE
    row.auto_reset_time = row.add_time + wait
    assert "Published again" not in [one.title for one in timeline.lines(row, now)]
