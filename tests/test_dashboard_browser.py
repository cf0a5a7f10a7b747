"""The dashboard as a person sees it: it changes by itself, in the dark, on a phone."""

import datetime

import pytest
from celery import current_app
from django.utils import timezone

from simpletask2_celery import state
from tests.browser import PHONE, assert_accessible, screenshot
from tests.fixtures import queued, wait_until
from tests.project.jobs.models import ChannelJob, Job

READY, DONE = 10, 30
URL = "/admin/jobs/job/dashboard/"


def ago(seconds):
    return timezone.now() - datetime.timedelta(seconds=seconds)


def make(model, count=1, fields=None, **values):
    rows = [model.objects.create(**(fields or {})) for _ in range(count)]
    state.owned(model, "default").filter(pk__in=[row.pk for row in rows]).update(**values)
    queued()
    return rows


@pytest.mark.parametrize(
    ("name", "options"),
    [("dark", {"color_scheme": "dark"}), ("phone", {"viewport": PHONE})],
)
def test_in_the_dark_and_on_a_phone_all_can_be_read(open_page, name, options):
    some_history()
    page = open_page(**options)
    page.goto(URL)
    page.wait_for_selector(".st2-card")
    assert_accessible(page, "#main")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth + 1")
    screenshot(page, f"dashboard-{name}")


def some_history():
    make(ChannelJob, 4, {"topic": "mail"}, add_time=ago(20))
    make(ChannelJob, 2, {"topic": "pages"}, add_time=ago(90))
    for number in range(120):
        seconds = 30 + (number * number) % 3500
        long_ago = {
            "add_time": ago(seconds + 4 + number % 7),
            "start_time": ago(seconds + 3),
        }
        ok = number % 9 != 4
        make(Job, status=DONE, success=ok, done_time=ago(seconds), **long_ago)
    for number in range(60):
        seconds = 3600 + number * number * 22
        make(
            Job,
            1 + number % 3,
            status=DONE,
            success=number % 17 != 3,
            add_time=ago(seconds + 9),
            start_time=ago(seconds + 5),
            done_time=ago(seconds),
        )


def test_the_dashboard_changes_while_a_worker_runs(page, celery):
    some_history()
    worker = celery("worker", "-c", "1", "-Q", current_app.conf.task_default_queue)
    page.goto(URL)
    ready = page.locator("section:has(#st2-jobs-job-default) .st2-ready .st2-big")
    ended = page.locator("section:has(#st2-jobs-job-default) figcaption span").first
    assert ready.inner_text() == "0"
    before = ended.inner_text()
    for _ in range(3):
        Job.objects.create()
    jobs = Job.objects.filter(status=READY)
    wait_until(lambda: not jobs.exists(), 40, worker.log)
    wait_until(lambda: ended.inner_text() != before, 20)  # by itself
    wait_until(
        lambda: "1" in page.locator(".st2-tile").nth(1).locator(".st2-fact").inner_text(),
        20,
    )
    assert_accessible(page, "#main")
    screenshot(page, "dashboard")
    page.click("#st2-pause")
    assert page.locator("#st2-pause").inner_text() == "Resume"
    worker.kill()


def test_the_dashboard_works_without_javascript(open_page):
    make(Job)
    page = open_page(java_script_enabled=False)
    page.goto(URL)
    assert page.locator("#st2-jobs-job-default").is_visible()
    assert "http-equiv" in page.content() and page.locator("#st2-pause").is_hidden()
