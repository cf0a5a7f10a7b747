"""The admin's pages as a person sees them, in a real browser."""

import datetime
import itertools
import re

import pytest
from django.utils import timezone

from tests.support.browser import PHONE, assert_accessible, screenshot
from tests.support.fixtures import queued
from tests.support.project.jobs.models import DurableSteps, Steps

expect = pytest.importorskip("playwright.sync_api").expect


def ago(**parts):
    return timezone.now() - datetime.timedelta(**parts)


def made(model, added, **values):
    """Make a row that was added some time ago, in any state."""
    [row] = model.objects.bulk_create([model(**values)])
    model.objects.filter(pk=row.pk).update(add_time=added)
    row.refresh_from_db()
    return row


def done(model, minutes, waited, *steps, success=True, **values):
    """Make a row that is done: seconds that it waited, and that each step took."""
    added = ago(minutes=minutes)
    times, at = {}, added + datetime.timedelta(seconds=waited)
    for number, seconds in enumerate(steps, 1):
        if number <= 3:
            times[f"step{number}_time"] = at
        at += datetime.timedelta(seconds=seconds)
    return made(
        model,
        added,
        status=30,
        start_time=times["step1_time"],
        current_step=len(steps),
        done_time=at,
        success=success,
        **times,
        **values,
    )


@pytest.fixture
def rows(transactional_db):
    """A day at work: rows done, failed, stale, running and waiting."""
    for number in range(7):
        done(Steps, 90 - 9 * number, 0.4 + number % 3, 2.1, 7.5 + number, 0.8, 3.0)
    found = {
        "failed": done(Steps, 24, 12, 1.8, 41.0, success=False),
        "stale": made(
            Steps,
            ago(minutes=19),
            status=20,
            start_time=ago(minutes=18, seconds=5),
            step1_time=ago(minutes=18, seconds=5),
            current_step=1,
            auto_reset_time=ago(minutes=13, seconds=5),
        ),
        "running": made(
            Steps,
            ago(seconds=95),
            status=20,
            start_time=ago(seconds=88),
            step1_time=ago(seconds=88),
            step2_time=ago(seconds=70),
            step3_time=ago(seconds=21),
            current_step=3,
            auto_reset_time=timezone.now() + datetime.timedelta(seconds=212),
        ),
        "marked": done(Steps, 12, 3, 4.0, success=None),
        "waiting": made(
            Steps,
            ago(seconds=40),
            auto_reset_time=timezone.now() + datetime.timedelta(seconds=260),
        ),
    }
    done(Steps, 4, 1.0, 2.0, 11.0, 0.7, 2.5)
    return found


def open_list(page):
    page.goto("/admin/jobs/steps/")
    expect(page.locator("#result_list")).to_be_visible()


def row_of(page, row):
    link = page.get_by_role("link", name=f"report {row.pk}", exact=True)
    return page.locator("#result_list tbody tr").filter(has=link)


def state_of(row):
    row.refresh_from_db()
    return row.status, row.success


def choose(page, action, *rows):
    for row in rows:
        row_of(page, row).locator("input.action-select").check()
    page.select_option("select[name=action]", action)
    page.locator(".actions button[type=submit]").first.click()


def test_who_signs_in_sees_what_failed_what_is_stale_and_what_runs(open_page, rows):
    page = open_page(signed_in=False)
    page.goto("/admin/jobs/steps/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "password")
    page.click("input[type=submit]")
    badges = {"failed": "Failed", "stale": "Stale", "running": "Doing", "waiting": "Ready"}
    for name, badge in badges.items():
        expect(row_of(page, rows[name]).locator(".st2-badge")).to_have_text(badge)
    expect(row_of(page, rows["stale"]).locator(".st2-over")).to_contain_text("over 13 min")
    expect(row_of(page, rows["running"]).locator(".st2-count")).to_have_text("3/4")


def test_the_list_can_be_read(page, rows):
    open_list(page)
    assert_accessible(page)
    screenshot(page, "admin-list")


def test_a_filter_leaves_the_stale_row(page, rows):
    open_list(page)
    page.get_by_role("link", name="Lease is over").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    expect(row_of(page, rows["stale"])).to_be_visible()
    assert_accessible(page)


def test_a_countdown_runs_and_stands_without_a_script(page, open_page, rows):
    open_list(page)
    left = row_of(page, rows["running"]).locator("[data-st2-left]")
    expect(left).to_have_text(re.compile(r"^3:\d\d$"))
    before = left.text_content()
    expect(left).not_to_have_text(before)
    page = open_page(java_script_enabled=False)
    open_list(page)
    left = row_of(page, rows["running"]).locator("[data-st2-left]")
    expect(left).to_have_text(re.compile(r"^3:\d\d$"))


def test_a_row_opens_its_timeline(page, rows):
    open_list(page)
    page.get_by_role("link", name=f"report {rows['running'].pk}", exact=True).click()
    lines = page.locator(".st2-timeline tbody tr")
    expect(lines.locator("th")).to_have_text(["Created", "Waiting", "Step 1", "Step 2", "Step 3"])
    boxes = [lines.nth(at).locator("rect.st2-fill").bounding_box() for at in (1, 2, 3, 4)]
    for before, after in itertools.pairwise(boxes):  # each begins where the last one ends
        assert after["x"] == pytest.approx(before["x"] + before["width"], abs=1)
    assert boxes[2]["width"] > boxes[1]["width"] > boxes[0]["width"]
    assert_accessible(page)
    screenshot(page, "timeline")


@pytest.mark.parametrize(
    ("action", "name", "state"),
    [
        ("publish_selected_tasks", "waiting", (10, None)),
        ("reset_selected_tasks", "stale", (10, None)),
        ("stop_selected_tasks", "running", (30, False)),
        ("mark_selected_tasks_done", "stale", (30, None)),
        ("force_do_selected_tasks", "failed", (30, True)),
    ],
)
def test_each_action_does_its_work(action, name, state, page, rows):
    queued()
    open_list(page)
    choose(page, action, rows[name])
    expect(page.locator(".messagelist .success")).to_contain_text("1")
    assert state_of(rows[name]) == state
    assert len(queued()) == (action in ("publish_selected_tasks", "reset_selected_tasks"))


def stop_all(page):
    open_list(page)
    page.check("#action-toggle")
    choose(page, "stop_selected_tasks")
    expect(page.locator("#content")).to_contain_text("This is about 13 reports")


def test_who_is_asked_about_many_rows_may_say_no(page, rows):
    stop_all(page)
    assert_accessible(page)
    page.get_by_role("link", name="No, take me back").click()
    expect(page.locator("#result_list")).to_be_visible()
    assert state_of(rows["running"]) == (20, None)


def test_many_rows_are_stopped_after_a_yes(page, rows):
    stop_all(page)
    page.get_by_role("button", name="Yes, I’m sure").click()
    expect(page.locator(".messagelist .success")).to_have_text("Stopped: 3.")
    assert state_of(rows["running"]) == state_of(rows["waiting"]) == (30, False)


def test_a_button_on_the_page_puts_a_stale_row_right(page, rows):
    queued()
    page.goto(f"/admin/jobs/steps/{rows['stale'].pk}/change/")
    page.get_by_role("button", name="Reset and publish").click()
    expect(page.locator(".st2-facts > .st2-badge")).to_have_text("Ready")
    assert state_of(rows["stale"]) == (10, None)
    assert [message["id"] for message in queued()] == [rows["stale"].pk]


@pytest.fixture
def retried(transactional_db):
    """A row that failed twice, and waits for its third attempt."""
    errors = [
        {
            "attempt": attempt,
            "step": 2,
            "at": ago(minutes=minutes).isoformat(),
            "worker": "celery@worker-1",
            "exception_class_path": "requests.exceptions.ConnectTimeout",
            "message": f"No answer of the bank to request {attempt}.",
            "traceback": "Traceback (most recent call last):\n" + f"  {'x' * 300} {attempt}\n" * 9,
        }
        for attempt, minutes in ((1, 12), (2, 5))
    ]
    return made(
        DurableSteps,
        ago(minutes=14),
        attempts=2,
        errors=errors,
        completed_step=1,
        run_after=timezone.now() + datetime.timedelta(minutes=4),
        pending_request={"headers": {"Authorization": "a-secret"}},
    )


@pytest.mark.parametrize(
    "options", [{}, {"color_scheme": "dark"}, {"viewport": PHONE}], ids=["light", "dark", "phone"]
)
def test_the_page_of_a_durable_row_tells_why_it_failed_and_retries_it_now(
    options, open_page, retried
):
    queued()
    page = open_page(**options)
    page.goto(f"/admin/jobs/durablesteps/{retried.pk}/change/")
    expect(page.locator(".st2-facts > .st2-badge")).to_have_text("Retrying")
    titles = ["Created", "Waiting", "Attempt 1 failed", "Attempt 2 failed", "Next attempt"]
    expect(page.locator(".st2-timeline tbody th")).to_have_text(titles)
    newest, oldest = page.locator(".st2-errors > li").all()
    expect(newest).to_contain_text("No answer of the bank to request 2.")
    expect(oldest).to_contain_text("No answer of the bank to request 1.")
    expect(newest.locator("pre")).not_to_be_visible()
    newest.get_by_text("Traceback", exact=True).click()
    expect(newest.locator("pre")).to_be_visible()
    with page.expect_response("**/state/"):
        pass
    expect(newest.locator("pre")).to_be_visible()  # what somebody reads stays open
    # Django's own pair of fields for a date and its time, in the form below, has no labels.
    assert_accessible(page, within=".st2-panel")
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    assert "a-secret" not in page.content()
    page.get_by_role("button", name="Retry now").click()
    expect(page.locator(".messagelist .success")).to_have_text("To be tried again at once: 1.")
    assert [message["id"] for message in queued()] == [retried.pk]
    retried.refresh_from_db()
    assert retried.run_after <= timezone.now() and len(retried.errors) == 2


def test_enter_in_a_field_saves_and_stops_nothing(page, rows):
    page.goto(f"/admin/jobs/steps/{rows['running'].pk}/change/")
    page.fill("#id_note", "typed")
    page.fill("#id_url", "http://example.com/")
    page.press("#id_url", "Enter")
    expect(page.locator(".messagelist .success")).to_contain_text("was changed")
    rows["running"].refresh_from_db()
    assert (rows["running"].url, rows["running"].status) == ("http://example.com/", 20)


def test_the_keyboard_alone_stops_a_row(page, rows):
    open_list(page)

    def tab_to(script):
        page.keyboard.press("Tab")
        expect(page.locator(".skip-to-content-link")).to_be_focused()
        page.keyboard.press("Enter")  # past the menu, as one does who has but a keyboard
        for _ in range(150):
            page.keyboard.press("Tab")
            if page.evaluate(f"(one => {script})(document.activeElement)"):
                return
        raise AssertionError(f"no Tab leads to {script}")

    tab_to(f"one.textContent.trim() === 'report {rows['running'].pk}'")
    page.keyboard.press("Enter")
    expect(page.locator(".st2-panel")).to_be_visible()
    tab_to("one.value === 'stop_selected_tasks'")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) != "none"  # one sees where one is
    page.keyboard.press("Space")
    expect(page.locator(".messagelist .success")).to_have_text("Stopped: 1.")
    assert state_of(rows["running"]) == (30, False)


def test_the_page_of_a_row_follows_its_run_and_keeps_what_is_typed(page, rows):
    row = rows["waiting"]
    page.clock.install()
    page.goto(f"/admin/jobs/steps/{row.pk}/change/")
    badge, said = page.locator(".st2-facts > .st2-badge"), page.locator("#st2-said")
    page.fill("#id_note", "half a sen")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    now = timezone.now()
    running = Steps.objects.filter(pk=row.pk)
    until = now + datetime.timedelta(seconds=300)
    running.update(status=20, start_time=now, step1_time=now, current_step=1, auto_reset_time=until)
    page.clock.run_for(2500)  # milliseconds
    expect(badge).to_have_text("Doing")
    expect(said).to_have_text("Doing")
    assert asked and all(url.endswith("/state/") for url in asked)  # and nothing else
    left = page.locator(".st2-facts [data-st2-left]")
    page.clock.run_for(1500)
    expect(left).to_have_text(re.compile(r"^4:5\d$"))  # counted from when it came
    running.update(status=30, success=True, done_time=timezone.now(), auto_reset_time=None)
    page.clock.run_for(2500)
    expect(badge).to_have_text("Done")
    expect(page.locator(".st2-explanation a")).to_contain_text("load the page again")
    assert page.input_value("#id_note") == "half a sen"
    assert_accessible(page)
    asked.clear()
    page.clock.run_for(20_000)
    assert not asked
    page.get_by_role("button", name="Reset and publish").click()  # which was not there before
    expect(badge).to_have_text("Ready")


def test_a_state_in_use_is_left_as_it_is(page, rows):
    page.clock.install()
    page.goto(f"/admin/jobs/steps/{rows['running'].pk}/change/")
    badge = page.locator(".st2-facts > .st2-badge")
    Steps.objects.filter(pk=rows["running"].pk).update(status=10)
    page.focus("button[value=stop_selected_tasks]")
    page.clock.run_for(5000)
    assert badge.text_content() == "Doing"
    page.focus("#id_note")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.st2-facts code'))")
    page.clock.run_for(5000)
    assert badge.text_content() == "Doing"
    page.evaluate("getSelection().empty()")
    page.clock.run_for(2500)
    expect(badge).to_have_text("Ready")


POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'"
)


def test_all_works_under_a_strict_content_security_policy(page, rows):
    def strict(route):
        answer = route.fetch()
        route.fulfill(
            response=answer, headers={**answer.headers, "content-security-policy": POLICY}
        )

    page.route(re.compile("//[^/]+/admin/"), strict)
    blamed = []
    page.on("console", lambda one: blamed.append(one.text) if one.type == "error" else None)
    page.clock.install()
    open_list(page)
    page.goto("/admin/simpletask2_celery/dashboard/")
    with page.expect_response("**/dashboard/"):
        page.clock.run_for(5500)
    page.goto(f"/admin/jobs/steps/{rows['running'].pk}/change/")
    with page.expect_response("**/state/"):
        page.clock.run_for(2500)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".messagelist .success")).to_have_text("Stopped: 1.")
    page.unroute_all(behavior="wait")
    assert not blamed


def test_without_a_script_the_page_of_a_row_says_what_it_did(open_page, rows):
    page = open_page(java_script_enabled=False)
    page.goto(f"/admin/jobs/steps/{rows['running'].pk}/change/")
    expect(page.locator(".st2-facts > .st2-badge")).to_have_text("Doing")
    assert "http-equiv" not in page.content()


@pytest.mark.parametrize(
    "options",
    [
        {"color_scheme": "dark"},
        {"viewport": PHONE},
        {"viewport": PHONE, "color_scheme": "dark"},
    ],
    ids=["dark", "phone", "dark-phone"],
)
@pytest.mark.parametrize(
    "names",
    [("list",), ("failed", "stale"), ("running", "marked"), ("waiting",)],
    ids="-".join,
)
def test_every_page_can_be_read_in_the_dark_and_on_a_phone(names, options, open_page, rows):
    page = open_page(**options)
    for name in names:
        if name == "list":
            open_list(page)
            assert_accessible(page)
            continue
        page.goto(f"/admin/jobs/steps/{rows[name].pk}/change/")
        assert_accessible(page)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0  # nothing to scroll sideways for
