"""Ten thousand rows that wait in a queue are not published again and again."""

from tests.support.flood import assert_resets_do_not_flood
from tests.support.project.jobs.models import Job


def test_ten_thousand_rows_that_wait_do_not_flood_their_queue(using, monkeypatch):
    monkeypatch.setattr(Job, "task_wait_timeout", 1)
    assert_resets_do_not_flood(using, 10_000)
