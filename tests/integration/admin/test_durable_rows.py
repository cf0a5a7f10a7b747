"""Durable rows in the admin: their attempts and errors are seen, and they are steered."""

import datetime
import re

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from simpletask2_celery.admin import SimpleTaskAdmin, actions
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.rows import querysets, resetting
from simpletask2_celery.running import cancelling, executor
from tests.support.fixtures import messages, queued
from tests.support.project.jobs.models import DurableJob, DurableSteps, Job

pytestmark = pytest.mark.django_db(transaction=True)
MINUTE = datetime.timedelta(minutes=1)
WEEK = datetime.timedelta(days=7)
ACTIONS = [action.__name__ for action in actions.DURABLE_ACTIONS]
SECRET = "a-secret-of-the-request"


def url_of(model, page="changelist", *args):
    return reverse(f"admin:jobs_{model._meta.model_name}_{page}", args=args)


def failed(attempt, minutes, message="not yet", **more):
    return {
        "attempt": attempt,
        "step": 1,
        "at": (timezone.now() - minutes * MINUTE).isoformat(),
        "worker": f"celery@host{attempt}",
        "exception_class_path": "builtins.ValueError",
        "message": message,
        "traceback": f"Traceback of <{attempt}>",
        **more,
    }


def make(model=DurableJob, ahead=None, **values):
    """Make a row that nobody has published; ``ahead`` is the time until it is due."""
    if ahead is not None:
        values["run_after"] = timezone.now() + ahead
    [row] = model.objects.bulk_create([model(**values)])
    return row


def retrying(ahead=4 * MINUTE, **values):
    errors = [failed(1, 9, "the first"), failed(2, 3, "the <second>")]
    return make(ahead=ahead, attempts=2, errors=errors, **values)


@pytest.fixture
def page(admin_client):
    """Return the text of a row's page."""

    def get(row):
        answer = admin_client.get(url_of(type(row), "change", row.pk))
        assert answer.status_code == 200
        return answer.text

    return get


@pytest.fixture
def act(admin_client):
    """Run an action; return its messages, or the page that asks."""

    def run(action, *rows, **more):
        chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
        answer = admin_client.post(url_of(type(rows[0])), {**chosen, **more}, follow=True)
        assert answer.status_code == 200
        if "consequence" in answer.context:
            return answer
        return [str(message) for message in answer.context["messages"]]

    return run


def etas():
    return [message.headers["eta"] for _, message in messages()]


# -- seen --------------------------------------------------------------------------------


def test_a_list_has_attempts_and_the_next_one_where_it_is_ahead(admin_client, rf):
    modeladmin = SimpleTaskAdmin(DurableJob, admin.AdminSite())
    columns = modeladmin.get_list_display(rf.get("/"))
    begin = ["task_name", "what", "note", "task_state", "task_steps", "task_attempts", "task_next"]
    assert columns[:7] == begin
    assert "task_next" not in SimpleTaskAdmin(Job, admin.AdminSite()).get_list_display(rf.get("/"))
    for values in ({"ahead": 4 * MINUTE}, {"ahead": -MINUTE}, {"ahead": WEEK}):
        retrying(**values)
    text = admin_client.get(url_of(DurableJob)).text
    cells = re.findall(r'class="field-task_next">(.*?)</td>', text)
    assert re.search(r"in <span data-st2-left=\"\d+\">3:5\d", cells[2])
    assert cells[1] == "-"
    assert f"{timezone.localtime() + WEEK:%Y-%m-%d}" in cells[0]
    assert re.findall(r'class="field-task_attempts">(.*?)</td>', text) == ["2"] * 3


def test_a_badge_tells_rows_that_are_tried_again_or_wait_for_their_time(admin_client):
    retrying(), make(ahead=WEEK), make(ahead=-WEEK), make()
    text = admin_client.get(url_of(DurableJob)).text
    looks = re.findall(r"st2-badge st2-(\w+)", text)
    assert looks == ["ready", "ready", "scheduled", "retrying"]


def test_filters_by_attempt(admin_client):
    again, parked = retrying(), make(ahead=WEEK)
    due = make(ahead=-WEEK)
    make(status=30, attempts=3)

    def listed(choice):
        answer = admin_client.get(url_of(DurableJob), {"attempt": choice})
        return list(answer.context["cl"].result_list)

    assert listed("retrying") == [again]
    assert listed("scheduled") == [parked]
    assert due not in listed("scheduled")
    assert "By attempt" in admin_client.get(url_of(DurableJob)).text
    assert "By attempt" not in admin_client.get(url_of(Job)).text


def test_a_page_has_the_errors_the_newest_first_each_with_its_traceback(page):
    row = retrying(lost_attempts=1, worker="celery@last", celery_id="0-1-2", completed_step=1)
    text = page(row)
    assert text.index("the &lt;second&gt;") < text.index("the first")
    assert text.count("<details id=") == 2
    assert "<pre>Traceback of &lt;2&gt;</pre>" in text
    assert "<strong>builtins.ValueError</strong>" in text
    assert "Attempt 2, step 1, " in text and "celery@host2" in text
    for fact in ("celery@last", "0-1-2", "Lost Attempts", "Next attempt", "Completed Step"):
        assert fact in text
    assert "It waits for its time: it is not run before" in text


def test_the_timeline_has_each_failed_attempt_and_the_next_one(admin_client):
    row = retrying(ahead=WEEK)
    DurableJob.objects.update(add_time=timezone.now() - 10 * MINUTE)
    lines = admin_client.get(url_of(DurableJob, "change", row.pk)).context["task"]["lines"]
    titles = [line["title"] for line in lines]
    assert titles == ["Created", "Waiting", "Attempt 1 failed", "Attempt 2 failed", "Next attempt"]
    marks = [float(line["x"]) for line in lines if line["width"] is None]
    # The week ahead does not press the ten minutes behind together.
    assert marks == [0.0, pytest.approx(10, abs=1), pytest.approx(70, abs=1), 100.0]


def test_a_failed_row_leads_to_its_errors(page, admin_client):
    now = timezone.now()
    row = retrying(ahead=None, status=30, success=False, start_time=now - MINUTE, done_time=now)
    DurableJob.objects.update(add_time=now - 10 * MINUTE)
    assert "The newest of its errors, below, says why." in page(row)
    lines = admin_client.get(url_of(DurableJob, "change", row.pk)).context["task"]["lines"]
    assert [line["title"] for line in lines][-1] == "Failed"


@pytest.mark.parametrize("errors", [None, [], {"a": 1}, ["x"], [{"at": "no time"}], [{}]])
def test_a_page_comes_whatever_somebody_has_written_to_the_errors(page, errors):
    assert "st2-errors" not in page(make(errors=errors))


def test_a_return_value_is_pretty_and_bounded(page):
    text = page(make(status=30, success=True, return_value={"of": ["ä", "<b>"]}))
    assert "&quot;ä&quot;,\n    &quot;&lt;b&gt;&quot;" in text and 'id="st2-value" open' in text
    text = page(make(status=30, success=True, return_value="x" * 9000))
    assert "x" * 3999 + "…" in text and "x" * 4000 not in text
    assert 'id="st2-value">' in text  # and folded
    assert "st2-value" not in page(make(status=30, success=True))
    assert "<pre>0</pre>" in page(make(status=30, success=True, return_value=0))


def test_a_pending_request_is_shown_nowhere(page, admin_client, monkeypatch):
    row = make(DurableSteps, pending_request={"headers": {"Authorization": SECRET}})
    state = url_of(DurableSteps, "state", row.pk)
    history = url_of(DurableSteps, "history", row.pk)
    everything = [field.name for field in DurableSteps._meta.fields]
    modeladmin = admin.site.get_model_admin(DurableSteps)

    def texts():
        yield page(row)
        for url in (state, history, url_of(DurableSteps)):
            yield admin_client.get(url).text

    for settings in ({}, {"readonly_fields": everything}, {"fields": everything}):
        for name, value in {"list_display": ["pk", *everything], **settings}.items():
            monkeypatch.setattr(modeladmin, name, value)
        if "fields" in settings:
            monkeypatch.setattr(modeladmin, "readonly_fields", everything)
        form = {"what": "nothing", "note": "typed", "url": "http://example.com/"}
        admin_client.post(url_of(DurableSteps, "change", row.pk), form)
        for text in texts():
            assert SECRET not in text and "pending" not in text.lower()
    row.refresh_from_db()
    assert row.pending_request["headers"]["Authorization"] == SECRET


def test_the_page_asks_no_more_of_the_database(admin_client, django_assert_num_queries):
    row = retrying()
    admin_client.get(url_of(DurableJob, "state", row.pk))
    with django_assert_num_queries(3):  # session, user, row
        admin_client.get(url_of(DurableJob, "state", row.pk))


# -- the form ----------------------------------------------------------------------------


def form_of(admin_client, row):
    """Return what a browser would send of a row's page, as it is now."""
    text = admin_client.get(url_of(type(row), "change", row.pk)).text
    names = re.findall(r'<input[^>]*name="((?:initial-)?run_after_\d)"[^>]*>', text)
    inputs = {name: re.search(rf'<input[^>]*name="{name}"[^>]*>', text)[0] for name in names}
    assert len(inputs) == 4
    values = {name: re.search(r'value="(.*?)"', tag) for name, tag in inputs.items()}
    typed = {name: match[1] if match else "" for name, match in values.items()}
    return {"what": "nothing", "note": "typed", "topic": "default", **typed}


def test_another_time_that_is_typed_is_looked_at_and_published(admin_client):
    row = make(ahead=WEEK)
    form = form_of(admin_client, row)
    soon = timezone.localtime() + 5 * MINUTE
    form |= {"run_after_0": f"{soon:%Y-%m-%d}", "run_after_1": f"{soon:%H:%M:%S}"}
    url = url_of(DurableJob, "change", row.pk)
    assert admin_client.post(url, form).status_code == 302
    row.refresh_from_db()
    assert abs(row.run_after - soon) < datetime.timedelta(seconds=1)
    assert abs(row.auto_reset_time - soon - 5 * MINUTE) < datetime.timedelta(seconds=5)
    assert [datetime.datetime.fromisoformat(eta) for eta in etas()] == [row.run_after]


def test_a_form_that_is_older_than_a_retry_takes_no_time_back(admin_client):
    row = make(ahead=MINUTE)
    form = form_of(admin_client, row)
    later = timezone.now() + WEEK
    DurableJob.objects.update(run_after=later, auto_reset_time=later, attempts=1)
    assert admin_client.post(url_of(DurableJob, "change", row.pk), form).status_code == 302
    row.refresh_from_db()
    assert (row.note, row.run_after, row.attempts) == ("typed", later, 1)
    assert queued() == []


# -- steered -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "buttons"),
    [
        ({}, {"publish_selected_tasks", "cancel_selected_tasks"}),
        ({"ahead": WEEK}, {"retry_selected_tasks", "cancel_selected_tasks"}),
        ({"ahead": -WEEK}, {"publish_selected_tasks", "cancel_selected_tasks"}),
        ({"status": 20}, {"reset_selected_tasks", "cancel_selected_tasks"}),
        ({"status": 30, "success": True}, {"reset_selected_tasks"}),
        ({"status": 30, "success": False}, {"retry_selected_tasks", "reset_selected_tasks"}),
    ],
)
def test_a_page_has_the_buttons_of_its_state(values, buttons, admin_client):
    row = make(**values)
    shown = admin_client.get(url_of(DurableJob, "change", row.pk)).context["task"]["buttons"]
    assert {name for name, _ in shown} == buttons


def test_other_models_have_no_actions_of_durable_rows(admin_client):
    Job.objects.bulk_create([Job()])
    text = admin_client.get(url_of(Job)).text
    assert "stop_selected_tasks" in text and not any(name in text for name in ACTIONS)


def test_retry_now_takes_those_that_wait_and_those_that_failed(act):
    waiting, parked, ready = retrying(), make(ahead=WEEK), make()
    bad, good = make(status=30, success=False, attempts=4), make(status=30, success=True)
    marked, running = make(status=30), make(status=20, start_time=timezone.now())
    before = timezone.now()
    said = act("retry_selected_tasks", waiting, parked, ready, bad, good, marked, running, post="y")
    assert said == [
        "To be tried again at once: 3.",
        "Left as they are, for they neither wait for their time nor have failed: 4.",
    ]
    sent = messages()
    assert {kwargs["id"] for kwargs, _ in sent} == {waiting.pk, parked.pk, bad.pk}
    assert [message.headers["eta"] for _, message in sent] == [None] * 3
    for row in (waiting, parked, bad):
        row.refresh_from_db()
        assert row.status == row.READY
        assert abs(row.auto_reset_time - before - 5 * MINUTE) < datetime.timedelta(seconds=9)
    assert before - MINUTE < parked.run_after <= timezone.now()
    assert (waiting.attempts, len(waiting.errors)) == (2, 2)  # it goes on
    assert (bad.attempts, bad.run_after, bad.success) == (0, None, None)
    for row, status in ((ready, 10), (good, 30), (marked, 30), (running, 20)):
        row.refresh_from_db()
        assert row.status == status
    logged = {int(one.object_id): one.change_message for one in LogEntry.objects.all()}
    assert logged == dict.fromkeys((waiting.pk, parked.pk, bad.pk), "To be tried again at once.")


def test_a_row_that_is_retried_runs_at_once(act):
    row = make(ahead=WEEK)
    act("retry_selected_tasks", row)
    executor.run(DurableJob, "default", row.pk)
    row.refresh_from_db()
    assert (row.status, row.success) == (row.DONE, True)
    queued()


def test_a_failed_row_goes_on_after_its_last_completed_step_where_its_model_resumes(act):
    row = make(DurableSteps, status=30, success=False, completed_step=2, step1_time=timezone.now())
    act("retry_selected_tasks", row)
    row.refresh_from_db()
    assert (row.status, row.completed_step) == (row.READY, 2) and row.step1_time
    executor.run(DurableSteps, "default", row.pk)
    row.refresh_from_db()
    assert (row.success, row.current_step, row.completed_step) == (True, 3, 3)
    queued()


@pytest.mark.parametrize("status", [20, 30])
def test_a_row_that_has_gone_on_meanwhile_is_left_and_not_published(act, monkeypatch, status):
    rows = [make(ahead=WEEK), make(ahead=WEEK), make(status=30, success=False)]
    hasten = resetting.hasten

    def taken_meanwhile(page):
        some = DurableJob.objects.filter(pk__in=[rows[0].pk, rows[2].pk])
        some.update(status=status, success=True, start_time=timezone.now())
        return hasten(page)

    monkeypatch.setattr(resetting, "hasten", taken_meanwhile)
    said = act("retry_selected_tasks", *rows)
    assert said[0] == "To be tried again at once: 1." and said[1].endswith(": 2.")
    assert [one["id"] for one in queued()] == [rows[1].pk]
    rows[0].refresh_from_db()
    assert rows[0].status == status and rows[0].run_after > timezone.now()


def test_retry_now_costs_the_same_for_a_page_of_any_size(act, monkeypatch):
    from django.db import connection

    def cost(size):
        rows = [make(ahead=WEEK) for _ in range(size)]
        with CaptureQueriesContext(connection) as queries:
            act("retry_selected_tasks", *rows, post="yes")
        queued()
        return len([one for one in queries if "jobs_durablejob" in one["sql"]])

    act("retry_selected_tasks", make())
    small = cost(3)
    assert cost(40) == small
    monkeypatch.setattr(querysets, "PAGE", 10)
    assert cost(40) <= small + 4 * 3


def test_cancel_ends_what_is_open_and_remembers_it(act, page):
    ready, running = make(ahead=WEEK), make(status=20, start_time=timezone.now(), current_step=1)
    done = make(status=30, success=True)
    said = act("cancel_selected_tasks", ready, running, done)
    assert said == ["Cancelled: 2.", "Left as they are, for they are done: 1."]
    for row in (ready, running):
        row.refresh_from_db()
        assert (row.status, row.success, row.errors[-1]["message"]) == (30, False, "cancelled")
    done.refresh_from_db()
    assert done.success is True
    assert {one.change_message for one in LogEntry.objects.all()} == {"Cancelled."}
    assert "cancelled" in page(running)


def test_a_run_that_is_cancelled_changes_nothing_any_more(act, handler):
    def told(row, payload):
        act("cancel_selected_tasks", DurableJob(pk=row.pk))
        row.note = "late"

    row = make(what=handler(told))
    with pytest.raises(DjangoSimpleTask2Error):
        executor.run(DurableJob, "default", row.pk)
    row.refresh_from_db()
    assert (row.status, row.success, row.note) == (30, False, "")


def test_a_parked_row_is_not_said_to_be_published(act):
    parked, near, ready = make(ahead=WEEK), make(ahead=MINUTE), make()
    said = act("publish_selected_tasks", parked, near, ready)
    assert said == [
        "Published again: 2.",
        "Left as they are, for they wait for their time: 1. Retry them.",
    ]
    assert sorted(one["id"] for one in queued()) == [near.pk, ready.pk]


def test_a_run_by_force_that_is_to_be_retried_is_told_as_failed(act, handler):
    row = make(what=handler(lambda row, payload: int("x")))
    assert act("force_do_selected_tasks", row) == ["1 item failed."]
    [entry] = LogEntry.objects.all()
    assert entry.change_message == "Run by force, and failed with 2910009."
    queued()


@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_asks_before_it_acts_on_many(action, act):
    rows = [make(ahead=WEEK) for _ in range(actions.FEW + 1)]
    assert "This is about 6 durable jobs" in act(action, *rows).text
    assert not LogEntry.objects.exists() and queued() == []
    assert isinstance(act(action, *rows, post="yes"), list)
    assert LogEntry.objects.count() == len(rows)


@pytest.mark.parametrize("action", ACTIONS)
def test_who_may_only_view_can_do_nothing(action, client, django_user_model):
    row = make(ahead=WEEK)
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_durablejob"))
    client.force_login(user)
    assert action not in client.get(url_of(DurableJob)).text
    client.post(url_of(DurableJob), {"action": action, "_selected_action": [row.pk], "post": "y"})
    row.refresh_from_db()
    assert row.status == 10 and row.run_after > timezone.now() + MINUTE and queued() == []


@pytest.mark.parametrize("action", ACTIONS)
def test_rows_that_the_user_may_not_change_are_left(action, act, monkeypatch):
    row = make(ahead=WEEK)
    modeladmin = admin.site.get_model_admin(DurableJob)
    monkeypatch.setattr(modeladmin, "has_change_permission", lambda request, obj=None: not obj)
    monkeypatch.setattr(cancelling, "cancel", None)
    assert act(action, row)[-1] == "Left as they are, for you may not change them: 1."
    row.refresh_from_db()
    assert row.run_after > timezone.now() + MINUTE


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_rows_of_a_database_server_are_retried_and_cancelled():
    waiting, bad = (
        DurableJob.objects.using("server").create(**values)
        for values in ({"run_after": timezone.now() + WEEK}, {})
    )
    DurableJob.objects.using("server").filter(pk=bad.pk).update(status=30, success=False)
    rows = list(DurableJob.objects.using("server").order_by("pk"))
    assert resetting.hasten(rows) == [waiting]
    assert resetting.reset_failed(rows) == [bad]
    for row in (waiting, bad):
        executor.run(DurableJob, "server", row.pk)
    queued()
