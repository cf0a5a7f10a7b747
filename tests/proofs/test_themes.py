"""The admin's pages in the themes of others, light and dark."""

import datetime
import re

import pytest
from django.conf import settings as project
from django.contrib.admin import helpers
from django.utils import timezone

from tests.support.browser import PHONE, assert_accessible, screenshot
from tests.support.fixtures import queued
from tests.support.project.jobs.models import Job, Steps, UuidJob

expect = pytest.importorskip("playwright.sync_api").expect

#: Of Unfold on Django 6.1, which goes on to do as before.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding get_action_choices")

#: theme → its app, and the settings that it needs beside that
THEMES = {
    "unfold": ("unfold.apps.BasicAppConfig", {"ROOT_URLCONF": "tests.support.project.unfold_urls"}),
    "jazzmin": ("jazzmin", {}),
}


@pytest.fixture(params=THEMES)
def theme(request, settings, monkeypatch):
    """The project with a theme's app, which stands before Django's admin."""
    pytest.importorskip(request.param)
    for name in ("AdminForm", "Fieldline"):  # where Unfold puts its own, for all admins
        monkeypatch.setattr(helpers, name, getattr(helpers, name))
    app, others = THEMES[request.param]
    for name, value in others.items():
        setattr(settings, name, value)
    settings.INSTALLED_APPS = [app, *project.INSTALLED_APPS]
    return request.param


@pytest.fixture(params=["light", "dark", "phone"])
def page(request, theme, open_page):
    """A page of the theme in one of its modes; the browser's own wish is the opposite there."""
    mode = "dark" if request.param == "dark" else "light"
    viewport = {"viewport": PHONE} if request.param == "phone" else {}
    if theme == "jazzmin":  # which does not follow the browser
        page = open_page(color_scheme="dark" if mode == "light" else "light", **viewport)
        page.add_init_script(f"localStorage.setItem('jazzmin-theme-mode', '{mode}')")
    else:
        page = open_page(color_scheme=mode, **viewport)
    page.name = f"{theme}-{request.param}"
    return page


def ago(seconds):
    return timezone.now() - datetime.timedelta(seconds=seconds)


@pytest.fixture
def rows(transactional_db):
    begun = {"start_time": ago(60), "step1_time": ago(60), "current_step": 1}
    ended = {"status": 30, "done_time": ago(50)}
    lease = {"auto_reset_time": ago(-240)}
    states = {
        "ready": lease,
        "running": {"status": 20, **begun, **lease},
        "stale": {"status": 20, **begun, "auto_reset_time": ago(9)},
        "done": {**ended, **begun, "success": True},
        "failed": {**ended, **begun, "success": False},
        "marked": ended,
    }
    found = {name: Steps.objects.create(note=name) for name in states}
    for name, values in states.items():
        Steps.objects.filter(pk=found[name].pk).update(add_time=ago(70), **values)
    UuidJob.objects.create()
    Job.objects.create()
    queued()
    return found


def test_the_list_its_filters_and_its_actions(page, rows):
    page.goto("/admin/jobs/steps/")
    badges = page.locator("#result_list .st2-badge")
    words = ["Marked done", "Failed", "Done", "Stale", "Doing", "Ready"]
    expect(badges).to_have_text(words)
    assert_accessible(page, "#result_list .st2-badge")
    screenshot(page, f"{page.name}-list")
    page.goto("/admin/jobs/steps/?stale=lease")
    expect(badges).to_have_text(["Stale"])
    page.goto("/admin/jobs/steps/")
    page.locator("#result_list input.action-select").first.wait_for(state="attached")
    for box in page.locator("#result_list input.action-select").all():
        box.check()
    page.select_option("select[name=action]", "stop_selected_tasks", force=True)
    page.locator("button[name=index]:visible").first.click()
    yes = page.locator("input[type=submit][value='Yes, I’m sure']")
    expect(page.get_by_text("This is about 6 reports")).to_be_visible()
    screenshot(page, f"{page.name}-question")
    yes.click()
    expect(page.get_by_text("Stopped: 3.")).to_be_visible()
    assert not Steps.objects.exclude(status=30).exists()


def test_the_page_of_a_row(page, rows):
    row = rows["running"]
    page.clock.install()
    page.goto(f"/admin/jobs/steps/{row.pk}/change/")
    badge = page.locator(".st2-facts > .st2-badge")
    expect(badge).to_have_text("Doing")
    expect(page.locator(".st2-timeline tbody th").first).to_be_visible()
    assert_accessible(page, ".st2-panel")
    screenshot(page, f"{page.name}-row")
    page.fill("[name=note]", "typed")
    Steps.objects.filter(pk=row.pk).update(status=10)
    page.clock.run_for(2500)
    expect(badge).to_have_text("Ready")
    assert page.input_value("[name=note]") == "typed"
    page.locator("#st2-live button", has_text="Stop").click()
    expect(page.get_by_text("Stopped: 1.")).to_be_visible()
    expect(badge).to_have_text("Stopped")


def test_the_dashboard(page, rows):
    page.goto("/admin/jobs/steps/")
    page.locator(".st2-tool a").click()
    first = page.locator(".st2-overview tbody tr").first
    expect(first).to_contain_text("Reports")
    expect(page.locator(".st2-card")).to_have_count(3)
    assert_accessible(page, ".st2-dashboard")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    screenshot(page, f"{page.name}-dashboard", full_page=True)
    page.locator("#st2-pause").click()
    expect(page.locator("#st2-pause")).to_have_text("Resume")


def test_the_index_leads_to_the_dashboard(page, rows):
    page.goto("/admin/")
    # A theme's menu comes first in the page; it is folded away on a phone.
    page.locator("a[href$='/simpletask2_celery/dashboard/']:visible").last.click()
    expect(page.locator(".st2-overview")).to_be_visible()


def test_a_uuid_is_short(page, rows):
    page.goto("/admin/jobs/uuidjob/")
    key = page.locator("#result_list .st2-key")
    whole = key.get_attribute("title")
    assert re.fullmatch(r"[0-9a-f-]{36}", whole)
    shown = key.locator("[aria-hidden]")
    assert shown.inner_text() == f"{whole[:8]}…"
    assert key.bounding_box()["width"] < 150  # the whole takes no room
