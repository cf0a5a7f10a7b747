"""The dashboard as a person sees it: it changes by itself, in the dark, on a phone."""

import dataclasses
import datetime

import pytest
from django.utils import timezone

from simpletask2_celery.admin import dashboard
from simpletask2_celery.publishing import broker
from simpletask2_celery.watching import figures
from tests.support.browser import DESKTOP, PHONE, assert_accessible, screenshot
from tests.support.fixtures import queued, wait_until
from tests.support.project.jobs.models import ChannelJob, Job

expect = pytest.importorskip("playwright.sync_api").expect

READY, DONE = 10, 30
URL = "/admin/simpletask2_celery/dashboard/"


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The figures may take their time: on a busy machine the limits cut some off."""
    for name in ("LIMIT", "ALL", "BROKER"):
        monkeypatch.setattr(figures, name, 15.0)


@pytest.fixture(autouse=True)
def emptied():
    """Leave no message in the queue that only this file knows."""
    yield
    queued("pages")


def ago(seconds):
    return timezone.now() - datetime.timedelta(seconds=seconds)


def make(rows):
    """Make jobs that were added at times of their own, and publish none of them."""
    made = Job.objects.bulk_create([Job(**values) for values in rows])
    for row, values in zip(made, rows, strict=True):
        row.add_time = values["add_time"]  # which was now, for bulk_create
    Job.objects.bulk_update(made, ["add_time"])


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
    for topic, count, seconds in (("mail", 4, 20), ("pages", 2, 90)):
        for _ in range(count):
            ChannelJob.objects.create(topic=topic)  # which is a message in its queue, too
        ChannelJob.objects.filter(topic=topic).update(add_time=ago(seconds))
    ended = []
    for number in range(120):
        seconds = 30 + (number * number) % 3500
        times = (seconds + 4 + number % 7, seconds + 3, seconds)
        ended.append(done(number % 9 != 4, *times))
    for number in range(60):
        seconds = 3600 + number * number * 22
        one = done(number % 17 != 3, seconds + 9, seconds + 5, seconds)
        ended += [one] * (1 + number % 3)
    make(ended)


def done(success, added, started, ended):
    """Return the columns of a row that is done: each time is in seconds ago."""
    return {
        "status": DONE,
        "success": success,
        "add_time": ago(added),
        "start_time": ago(started),
        "done_time": ago(ended),
    }


def test_a_line_of_the_table_leads_to_the_models_card(page):
    some_history()
    page.goto("/admin/")
    page.get_by_role("main").get_by_role("link", name="Dashboard", exact=True).click()
    overview = page.get_by_role("table", name="All models, the worst first")
    expect(overview.locator("tbody tr").first).to_contain_text("jobs.job")
    overview.get_by_role("link", name="Jobs", exact=True).press("Enter")
    expect(page.locator("#st2-jobs-job-default")).to_be_in_viewport()
    expect(overview.get_by_role("link", name="Async jobs")).to_be_visible()  # of no card


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_one_model_or_sixty_can_be_read(open_page, monkeypatch, count, viewport):
    """The figures of many databases stand for those of many models."""
    some_history()
    real = figures.read([Job])
    [one] = [table for table in real.models if table.using == "default"]
    names = ["default", *(f"db{number}" for number in range(1, count))]
    tables = [dataclasses.replace(one, using=name) for name in names]
    monkeypatch.setattr(figures, "read", lambda *_: dataclasses.replace(real, models=tables))
    page = open_page(viewport=viewport)
    page.goto(URL)
    page.click("#st2-pause")  # axe takes longer than five seconds
    lines = page.locator(".st2-overview tbody tr")
    expect(lines).to_have_count(count)
    expect(page.locator(".st2-card")).to_have_count(min(count, dashboard.CARDS))
    assert_accessible(page, "#main")
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth + 1")
    assert lines.last.bounding_box()["height"] < 50
    assert len(page.content()) < 500_000  # which comes again every five seconds
    lines.last.get_by_role("link").click()
    expect(page.locator(f"#st2-jobs-job-{names[-1]}")).to_be_visible()
    expect(lines).to_have_count(count)


def workers_of(page):
    return page.locator(".st2-tile").nth(1).locator(".st2-fact")


def test_with_a_worker_online_all_can_be_read(page, monkeypatch):
    some_history()
    monkeypatch.setattr(broker, "workers", lambda timeout: [broker.Worker("celery@here", None)])
    page.goto(URL)
    expect(workers_of(page)).to_contain_text("1")
    assert_accessible(page, "#main")


def test_the_dashboard_changes_while_a_worker_runs(page, worker):
    some_history()
    process = worker(children=1)
    page.clock.install()
    page.goto(URL)
    ready = page.locator("section:has(#st2-jobs-job-default) .st2-ready .st2-big")
    ended = page.locator("section:has(#st2-jobs-job-default) figcaption span").first
    assert ready.inner_text() == "0"
    before = ended.inner_text()
    for _ in range(3):
        Job.objects.create()
    jobs = Job.objects.filter(status=READY)
    wait_until(lambda: not jobs.exists(), what=process.log)
    page.clock.fast_forward(5000)  # milliseconds, after which it changes by itself
    expect(ended).not_to_have_text(before)
    expect(workers_of(page)).to_contain_text("1")
    screenshot(page, "dashboard")
    page.click("#st2-pause")
    assert page.locator("#st2-pause").inner_text() == "Resume"


def test_the_dashboard_works_without_javascript(open_page):
    make([{"add_time": ago(1)}])
    page = open_page(java_script_enabled=False)
    page.goto(URL)
    assert page.locator("#st2-jobs-job-default").is_visible()
    assert "http-equiv" in page.content() and page.locator("#st2-pause").is_hidden()
