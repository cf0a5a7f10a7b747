"""The admin of tasks: what it shows, finds, asks and does."""

import datetime
import threading
import uuid

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection, connections
from django.urls import reverse
from django.utils import timezone, translation

from simpletask2_celery.admin import SimpleTaskAdmin, actions, changelist
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.publishing import to_celery
from simpletask2_celery.rows import querysets, transitions
from simpletask2_celery.watching import time_ranges
from tests.support.fixtures import queued
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import (
    AsyncJob,
    ChannelJob,
    ChildJob,
    CodeJob,
    EveryJob,
    Job,
    Steps,
    UuidJob,
)

pytestmark = pytest.mark.django_db(transaction=True)
MINUTE = datetime.timedelta(minutes=1)
DAY = datetime.timedelta(days=1)
ACTIONS = {action.__name__ for action in actions.ACTIONS}


def make(model, count=1, using="default", **values):
    rows = model.objects.using(using)
    return rows.bulk_create([model(**values) for _ in range(count)])


def doing(model, left, using="default", **values):
    now = timezone.now()
    values = {"status": 20, "start_time": now, "step1_time": now, **values}
    return make(model, using=using, auto_reset_time=now + left, **values)[0]


def url_of(model, page="changelist", *args, site="admin"):
    meta = model._meta
    name = f"admin:{meta.app_label}_{meta.model_name}_{page}"
    return reverse(name, args=args, current_app=site)


@pytest.fixture
def listed(admin_client):
    """Return the rows that a list shows."""

    def show(model, site="admin", **query):
        answer = admin_client.get(url_of(model, site=site), query)
        assert answer.status_code == 200, answer.headers
        return list(answer.context["cl"].result_list)

    return show


@pytest.fixture
def act(admin_client):
    """Run an action; return its messages, or the page that asks."""

    def run(action, *rows, site="admin", url="", **more):
        chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
        address = url_of(type(rows[0]), site=site) + url
        answer = admin_client.post(address, {**chosen, **more}, follow=True)
        assert answer.status_code == 200
        if "consequence" in answer.context:
            return answer
        return [str(message) for message in answer.context["messages"]]

    return run


def fresh(row):
    return type(row).objects.using(row._state.db).get(pk=row.pk)


# -- the list ----------------------------------------------------------------------------


def test_a_list_tells_state_steps_lease_and_durations(admin_client):
    now = timezone.now()
    doing(Steps, MINUTE * 4)
    times = {"start_time": now - MINUTE, "done_time": now - MINUTE / 2}
    make(Steps, status=30, success=True, current_step=4, **times)
    text = admin_client.get(url_of(Steps)).text
    for shown in ("Doing", "Done", "0/4", "4/4", "3:59", "30 s", "report "):
        assert shown in text


def test_a_row_is_called_what_its_model_says_or_by_kind_and_key(admin_client):
    [job], [report] = make(Job), make(Steps)
    assert f">job {job.pk}</a>" in admin_client.get(url_of(Job)).text
    assert f">report {report.pk}</a>" in admin_client.get(url_of(Steps)).text


@pytest.mark.parametrize(
    ("model", "own"),
    [
        (Job, ["what", "note"]),
        (ChannelJob, None),  # whose admin has set its columns
        (Steps, ["what", "url"]),  # note is a text of any length
        (UuidJob, []),
        (CodeJob, []),
        (ChildJob, ["what", "note"]),
        (EveryJob, ["price", "length"]),  # data and raw are too long
    ],
)
def test_a_list_has_the_first_short_fields_unless_it_has_columns_of_its_own(model, own, rf):
    modeladmin = SimpleTaskAdmin(model, admin.AdminSite())
    if model is ChannelJob:
        modeladmin = admin.site.get_model_admin(model)
    name, *others = SimpleTaskAdmin.list_display
    wanted = modeladmin.list_display if own is None else [name, *own, *others]
    assert modeladmin.get_list_display(rf.get("/")) == wanted


def test_a_key_that_is_a_uuid_is_shown_short(admin_client):
    [row] = make(UuidJob)
    text = admin_client.get(url_of(UuidJob)).text
    assert f'title="{row.pk}"><span aria-hidden="true">{str(row.pk)[:8]}…</span>' in text


def test_what_a_page_asks_the_database_does_not_grow_with_its_rows(
    admin_client, django_assert_num_queries
):
    make(Job, 3)
    admin_client.get(url_of(Job))  # the clock of the database, content types
    with django_assert_num_queries(5):  # session, user, count, rows, first date
        admin_client.get(url_of(Job))
    make(Job, 60)
    with django_assert_num_queries(5):
        admin_client.get(url_of(Job))


def test_a_list_counts_no_further_than_its_last_page(admin_client, monkeypatch):
    monkeypatch.setattr(changelist, "MOST", 150)
    make(Job, 151)
    answer = admin_client.get(url_of(Job), {"p": 2})
    assert answer.context["cl"].result_count == 150
    assert len(answer.context["cl"].result_list) == 50
    assert b"There are more than these" in answer.content
    Job.objects.order_by("pk").first().delete()
    assert b"There are more" not in admin_client.get(url_of(Job)).content


@pytest.mark.parametrize("model", [Job, UuidJob, CodeJob, ChildJob])
def test_the_newest_rows_come_first(model, listed):
    rows = []
    for age in (1, 3, 2):
        if model is ChildJob:
            row = ChildJob.objects.create()
        else:
            keys = {"code": f"c{age}"} if model is CodeJob else {}
            row = make(model, **keys)[0]
        if model in (UuidJob, CodeJob):
            model.objects.filter(pk=row.pk).update(add_time=timezone.now() - DAY * age)
        rows.append((age if model in (UuidJob, CodeJob) else -row.pk, row))
    assert listed(model) == [row for _, row in sorted(rows, key=lambda one: one[0])]


# -- filters -----------------------------------------------------------------------------


def test_filters_by_status_success_and_lease(listed):
    [ready] = make(Job, auto_reset_time=timezone.now() + MINUTE)
    [due] = make(Job, auto_reset_time=timezone.now() - MINUTE)
    [unpublished] = make(Job)
    live, stale = doing(Job, MINUTE), doing(Job, -MINUTE)
    [good] = make(Job, status=30, success=True)
    [bad] = make(Job, status=30, success=False)
    assert listed(Job, status__exact=10) == [unpublished, due, ready]
    assert listed(Job, status__exact=20) == [stale, live]
    assert listed(Job, success__exact=0) == [bad]
    assert listed(Job, success__exact=1) == [good]
    assert listed(Job, stale="lease") == [stale]
    assert listed(Job, stale="waiting") == [unpublished, due]


def test_filter_by_channel_offers_those_there_are(listed, admin_client):
    rows = {topic: make(ChannelJob, topic=topic)[0] for topic in ("", "mail", "sms")}
    answer = admin_client.get(url_of(ChannelJob))
    specs = {spec.parameter_name: spec for spec in answer.context["cl"].filter_specs[2:]}
    offered = [channel for channel, _ in specs["channel"].lookup_choices]
    assert offered == ["default", "mail", "sms"]
    assert listed(ChannelJob, channel="mail") == [rows["mail"]]
    assert listed(ChannelJob, channel="default") == [rows[""]]
    assert listed(ChannelJob, channel="none") == []
    assert b"By channel" not in admin_client.get(url_of(Job)).content


def test_filter_by_age(listed):
    rows = make(Job, 3)
    for row, hours in zip(rows, (0, 5, 24 * 9), strict=True):
        added = timezone.now() - datetime.timedelta(hours=hours)
        Job.objects.filter(pk=row.pk).update(add_time=added)
    young, middle, old = rows
    assert listed(Job, age="hour") == [young]
    assert listed(Job, age="day") == listed(Job, age="week") == [middle, young]
    assert listed(Job, age="over-hour") == [old, middle]
    assert listed(Job, age="over-week") == [old]


# -- dates -------------------------------------------------------------------------------


def titles(answer):
    return [choice["title"] for choice in answer.context["cl"].hierarchy["choices"]]


def test_dates_lead_from_years_to_days(admin_client):
    rows = make(Job, 2)
    then = datetime.datetime(2023, 2, 14, 12, tzinfo=datetime.UTC)
    Job.objects.filter(pk=rows[0].pk).update(add_time=then)
    this_year = timezone.localtime().year
    answer = admin_client.get(url_of(Job))
    assert titles(answer) == [str(year) for year in range(2023, this_year + 1)]
    answer = admin_client.get(url_of(Job) + "?add_time__year=2023")
    assert len(titles(answer)) == 12
    month = url_of(Job) + "?add_time__year=2023&add_time__month=2"
    answer = admin_client.get(month)
    assert len(titles(answer)) == 28 and "?add_time__year=2023" in answer.text
    answer = admin_client.get(month + "&add_time__day=14")
    assert titles(answer) == ["February 14"]
    assert list(answer.context["cl"].result_list) == [rows[0]]


def test_dates_of_this_year_are_months(admin_client):
    now = timezone.localtime()
    rows = make(Job, 2)
    first = now.replace(month=1, day=1, hour=0)
    Job.objects.filter(pk=rows[0].pk).update(add_time=first)
    number = now.month if now.month > 1 else now.day
    assert len(titles(admin_client.get(url_of(Job)))) == number


def test_dates_of_another_column_are_those_of_django(admin_client, monkeypatch):
    make(Steps, done_time=datetime.datetime(2023, 2, 14, tzinfo=datetime.UTC))
    monkeypatch.setattr(type(admin.site.get_model_admin(Steps)), "date_hierarchy", "done_time")
    assert "February 1" in admin_client.get(url_of(Steps)).text


def test_the_end_of_the_calendar_leads_back_to_the_list(admin_client):
    hourly(600)
    answer = admin_client.get(url_of(Job) + "?add_time__year=1")
    assert answer.url == f"{url_of(Job)}?e=1"


def test_no_date_is_offered_that_is_to_come(admin_client):
    make(Job)
    now = timezone.localtime()
    answer = admin_client.get(
        url_of(Job) + f"?add_time__year={now.year}&add_time__month={now.month}"
    )
    assert len(titles(answer)) == now.day


@pytest.mark.parametrize("date", ["year=9999", "year=0", "year=x", "year=1&add_time__month=13"])
def test_a_date_that_is_none_leads_back_to_the_list(date, admin_client):
    make(Job)
    answer = admin_client.get(f"{url_of(Job)}?add_time__{date}", follow=True)
    assert answer.redirect_chain == [(f"{url_of(Job)}?e=1", 302)]


def hourly(count, first=1):
    """Make rows an hour apart, far enough apart in their keys to be searched for."""
    begin = timezone.now() - count * datetime.timedelta(hours=1)
    rows = Job.objects.bulk_create(
        [Job(pk=first + 100 * number) for number in range(count)], batch_size=500
    )
    for number, row in enumerate(rows):
        row.add_time = begin + number * datetime.timedelta(hours=1)
    Job.objects.bulk_update(rows, ["add_time"], batch_size=300)
    return rows


def test_the_keys_of_a_time_are_searched_for(monkeypatch):
    rows = hourly(600)
    since, until = rows[200].add_time, rows[230].add_time
    found = time_ranges.added(Job.objects.order_by("pk"), since, until)
    assert list(found) == rows[200:230]
    narrowed = time_ranges.narrow(Job.objects.all(), since, until)
    assert 30 + 2 * 24 <= narrowed.count() < 120  # a day more on either side, and a bit
    assert time_ranges.narrow(Job.objects.all(), None, since).count() < 260
    assert time_ranges.narrow(Job.objects.all(), until, None).count() < 430
    assert time_ranges.narrow(Job.objects.all(), rows[0].add_time - 9 * DAY, None).count() == 600
    assert not time_ranges.added(Job.objects.all(), timezone.now() + 9 * DAY, None)


def test_rows_out_of_order_are_found_all_the_same():
    rows = hourly(600)
    half = rows[0].add_time + DAY * 12
    for row in rows:  # as after the keys of two tables were put together
        row.add_time = half - (row.add_time - half)
    Job.objects.bulk_update(rows, ["add_time"], batch_size=300)
    since, until = rows[230].add_time, rows[200].add_time
    found = time_ranges.added(Job.objects.order_by("pk"), since, until)
    assert list(found) == rows[201:231]


def test_keys_that_do_not_grow_are_not_searched_for(django_assert_num_queries):
    assert not time_ranges.is_counted(UuidJob) and not time_ranges.is_counted(CodeJob)
    assert time_ranges.is_counted(Job) and time_ranges.is_counted(ChildJob)
    with django_assert_num_queries(1):
        assert not time_ranges.added(UuidJob.objects.all(), timezone.now(), None)


# -- search ------------------------------------------------------------------------------


def test_search_by_id_in_the_ways_that_logs_write_them(listed):
    one, two, _ = make(Job, 3)
    assert listed(Job, q=one.pk) == [one]
    assert listed(Job, q=f" jobs.job:{one.pk}, {two.pk}") == [two, one]


@pytest.mark.parametrize("text", ["x", "1.5", "9" * 40, "-1", "1'", "jobs.job:", "', '", "١x"])
@pytest.mark.parametrize("model", [Job, UuidJob, ChildJob, Steps])
def test_a_search_for_no_id_finds_nothing(model, text, listed):
    (ChildJob.objects.create if model is ChildJob else lambda: make(model))()
    assert listed(model, q=text) == []


def test_search_by_other_kinds_of_keys(listed):
    [one] = make(UuidJob)
    assert listed(UuidJob, q=str(one.pk)) == listed(UuidJob, q=one.pk.hex) == [one]
    assert listed(UuidJob, q=str(uuid.uuid4())) == []
    [code] = make(CodeJob, code="a b, c")
    assert listed(CodeJob, q="a b, c") == [code]
    child = ChildJob.objects.create()
    assert listed(ChildJob, q=child.pk) == [child]


def test_a_subclass_searches_other_fields_too(listed):
    [one] = make(Steps, note="about whales")
    [two] = make(Steps)
    assert listed(Steps, q="whales") == [one]
    assert listed(Steps, q=two.pk) == [two]


# -- the page of a row -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"auto_reset_time": DAY}, "If none takes it"),
        ({"auto_reset_time": -DAY}, "No worker has taken it"),
        ({"status": 20, "auto_reset_time": DAY}, "holds it until"),
        ({"status": 20, "auto_reset_time": -DAY}, "taken for lost"),
        ({"status": 30, "success": False}, "jobs.job:"),
        ({"status": 30, "success": True}, "to its end"),
        ({"status": 30}, "not known"),
    ],
)
def test_the_page_of_a_row_says_what_it_waits_for(values, words, admin_client):
    if "auto_reset_time" in values:
        values = {**values, "auto_reset_time": timezone.now() + values["auto_reset_time"]}
    [row] = make(Job, **values)
    assert words in admin_client.get(url_of(Job, "change", row.pk)).text


def test_a_form_saves_what_was_typed_and_leaves_the_state_alone(admin_client, monkeypatch):
    [row] = make(Job)
    started = threading.Event()

    def taken_meanwhile(job, *args, **kwargs):
        if kwargs.get("update_fields"):
            Job.objects.filter(pk=row.pk).update(status=20, start_time=timezone.now())
            started.set()
        return save(job, *args, **kwargs)

    save = Job.save
    monkeypatch.setattr(Job, "save", taken_meanwhile)
    form = {"what": "nothing", "note": "typed", "other": 3, "status": 30}
    answer = admin_client.post(url_of(Job, "change", row.pk), form)
    assert answer.status_code == 302 and started.is_set()
    row = fresh(row)
    assert (row.note, row.status) == ("typed", Job.DOING) and row.start_time


def test_a_row_made_in_the_admin_is_published(admin_client):
    form = {"what": "nothing", "note": "n", "other": 3}
    page = admin_client.get(url_of(Job, "add"))
    assert "st2-timeline" not in page.text and "Columns of the state" not in page.text
    assert admin_client.post(url_of(Job, "add"), form).status_code == 302
    assert queued() == [{"app_label": "jobs", "model": "job", "id": Job.objects.get().pk}]


def test_a_key_cannot_be_typed_over(admin_client):
    [row] = make(CodeJob, code="a/b")
    page = url_of(CodeJob, "change", "a_2Fb")
    assert 'name="code"' not in admin_client.get(page).text
    assert admin_client.post(page, {"code": "other"}).status_code == 302
    assert CodeJob.objects.get() == row


def test_the_state_of_a_row_comes_alone_until_it_is_done(admin_client):
    row = doing(Job, MINUTE)
    state = url_of(Job, "state", row.pk)
    page = admin_client.get(url_of(Job, "change", row.pk)).text
    assert f'data-url="{state}" data-every="2000"' in page
    part = admin_client.get(state).text
    assert "Doing" in part and f'data-url="{state}"' in part and "<form" not in part
    Job.objects.filter(pk=row.pk).update(status=30, success=True, done_time=timezone.now())
    part = admin_client.get(state).text
    assert "Done" in part and "data-every" not in part and "load the page again" in part
    page = admin_client.get(url_of(Job, "change", row.pk)).text
    assert "data-every" not in page and "load the page again" not in page


def test_what_a_state_asks_the_database(admin_client, django_assert_num_queries):
    row = doing(Job, MINUTE)
    admin_client.get(url_of(Job, "state", row.pk))
    with django_assert_num_queries(3):  # session, user, row
        admin_client.get(url_of(Job, "state", row.pk))


def test_the_state_of_a_row_with_an_odd_key(admin_client):
    make(CodeJob, code="a/state")
    state = url_of(CodeJob, "state", "a_2Fstate")
    assert f'data-url="{state}"' in admin_client.get(url_of(CodeJob, "change", "a_2Fstate")).text
    assert admin_client.get(state).status_code == 200
    assert admin_client.get(url_of(CodeJob, "state", "none")).status_code == 404


@pytest.mark.parametrize(
    ("status", "buttons"),
    [
        (10, {"publish_selected_tasks", "stop_selected_tasks"}),
        (20, {"reset_selected_tasks", "stop_selected_tasks"}),
        (30, {"reset_selected_tasks"}),
    ],
)
def test_a_page_has_the_buttons_of_its_state(status, buttons, admin_client):
    [row] = make(Job, status=status)
    shown = admin_client.get(url_of(Job, "change", row.pk)).context["task"]["buttons"]
    assert {name for name, _ in shown} == buttons


@pytest.mark.parametrize("key", ["a/b", "plain"])
def test_a_button_acts_and_comes_back_to_the_page(key, admin_client):
    [row] = make(CodeJob, code=key)
    form = {"action": "stop_selected_tasks", "_selected_action": key, "_back": "1"}
    answer = admin_client.post(url_of(CodeJob), form)
    assert answer.url == url_of(CodeJob, "change", key.replace("/", "_2F"))
    assert fresh(row).status == CodeJob.DONE


def test_pages_speak_the_language_of_the_user(admin_client):
    make(Job)
    with translation.override("zh-hans"):
        assert "就绪" in admin_client.get(url_of(Job), headers={"accept-language": "zh"}).text


# -- actions -----------------------------------------------------------------------------


def test_stop_ends_what_is_open_and_tells_what_it_left(act, admin_client):
    [ready, done] = make(Job) + make(Job, status=30, success=True)
    live = doing(Job, MINUTE)
    said = act("stop_selected_tasks", ready, live, done)
    assert said == ["Stopped: 2.", "Left as they are, for they are done: 1."]
    for row in (fresh(ready), fresh(live)):
        assert (row.status, row.success, row.auto_reset_time) == (30, False, None)
        assert row.done_time
    assert fresh(done).success is True and fresh(done).done_time is None
    page = admin_client.get(url_of(Job)).text
    assert page.count("st2-badge st2-stopped") == 2 and "st2-failed" not in page
    page = admin_client.get(url_of(Job, "change", live.pk)).text
    assert "Stopped" in page and "Somebody stopped it." in page


def test_a_stopped_run_changes_nothing_any_more(act, monkeypatch):
    def stop_me(row, payload):
        act("stop_selected_tasks", Job(pk=row.pk))
        row.note = "late"

    monkeypatch.setattr(handlers, "nothing", stop_me)
    [row] = make(Job)
    from simpletask2_celery.running import executor

    with pytest.raises(DjangoSimpleTask2Error):
        executor.run(Job, "default", row.pk)
    row = fresh(row)
    assert (row.status, row.success, row.note) == (30, False, "")


def test_publish_again_sends_the_ready_ones(act):
    ready, done = make(Job) + make(Job, status=30)
    said = act("publish_selected_tasks", ready, done)
    assert said[0] == "Published again: 1." and "not ready: 1." in said[1]
    assert [message["id"] for message in queued()] == [ready.pk]


def test_a_broker_that_is_down_is_told_of(act, settings):
    from celery import current_app

    [row] = make(Job)
    to_celery.breaker.open()
    assert "The broker has not taken all" in act("publish_selected_tasks", row)[1]
    assert current_app.conf.broker_url and queued() == []


def test_marked_done_keeps_what_is_known_of_the_success(act):
    [row, failed] = make(Job) + make(Job, status=30, success=False)
    said = act("mark_selected_tasks_done", row, failed)
    assert said[1] == "Left as they are, for they are done: 1."
    assert (fresh(row).status, fresh(row).success) == (30, None)
    assert fresh(failed).success is False


def test_what_failed_by_force_is_in_the_log_with_its_code(act):
    good, bad = make(Job) + make(Job, what="fail")
    said = act("force_do_selected_tasks", good, bad)
    assert said[-1] == "1 item failed."
    logged = {one.object_id: one.change_message for one in LogEntry.objects.all()}
    assert logged[str(good.pk)] == "Run by force."
    assert logged[str(bad.pk)] == "Run by force, and failed with 2910009."


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_an_action_asks_before_it_acts_on_many(action, act):
    rows = make(Job, actions.FEW + 1)
    page = act(action, *rows)
    assert f"This is about {len(rows)} jobs" in page.text and "Ready: 6" in page.text
    assert not LogEntry.objects.exists() and queued() == []
    assert [fresh(row).status for row in rows] == [10] * len(rows)
    assert isinstance(act(action, *rows, post="yes"), list)
    assert LogEntry.objects.count() == len(rows)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_an_action_on_a_few_does_not_ask(action, act):
    assert isinstance(act(action, *make(Job, actions.FEW)), list)


def test_an_action_on_all_goes_through_the_filter_and_its_question(act):
    rows = make(Job, 130)
    [done] = make(Job, status=30)
    url = "?status__exact=10"
    page = act("stop_selected_tasks", rows[0], url=url, select_across="1")
    assert "This is about 130 jobs" in page.text
    assert 'name="select_across" value="1"' in page.text
    assert page.text.count("_selected_action") == 1
    more = {"select_across": "1", "post": "yes"}
    assert act("stop_selected_tasks", rows[0], url=url, **more) == ["Stopped: 130."]
    assert fresh(done).success is None


@pytest.mark.parametrize(
    ("action", "per_page"),
    [
        ("publish_selected_tasks", 2),  # the rows, the log
        ("stop_selected_tasks", 3),  # and one UPDATE
        ("mark_selected_tasks_done", 3),
        ("reset_selected_tasks", 3),
    ],
)
def test_an_action_costs_the_same_for_a_page_of_any_size(
    action, per_page, act, monkeypatch, django_assert_num_queries
):
    def cost(size):
        from django.test.utils import CaptureQueriesContext

        rows = make(Job, size)
        with CaptureQueriesContext(connection) as queries:
            act(action, *rows, post="yes")
        queued()
        own = [q["sql"] for q in queries.captured_queries]
        return len([sql for sql in own if "jobs_job" in sql or "django_admin_log" in sql])

    act(action, *make(Job))
    small = cost(3)
    assert cost(40) == small
    monkeypatch.setattr(querysets, "PAGE", 10)
    assert cost(40) <= small + 4 * per_page


def test_a_question_counts_a_row_once_that_a_filter_has_found_twice(rf, admin_user):
    for job in make(Job, 6):
        EveryJob.objects.bulk_create([EveryJob(other_job=job), EveryJob(other_job=job)])
    request = rf.post("/")
    request.user = admin_user
    found = Job.objects.filter(everyjob__price=0)
    assert found.count() == 12
    answer = actions.stop_selected_tasks(admin.site.get_model_admin(Job), request, found.distinct())
    assert answer.context_data["total"] == 6


def test_an_action_is_in_the_admins_log(act, admin_user):
    rows = make(Job, 2)
    act("stop_selected_tasks", *rows, *make(Job, status=30))
    entries = LogEntry.objects.all()
    assert {entry.object_id for entry in entries} == {str(row.pk) for row in rows}
    for entry in entries:
        assert entry.user == admin_user and entry.change_message == "Stopped."
        assert entry.content_type.model == "job"


def test_a_row_that_is_done_meanwhile_is_left_and_not_logged(act, monkeypatch):
    rows = make(Job, 2)
    end_open = transitions.end_open

    def done_meanwhile(*arguments):
        Job.objects.filter(pk=rows[0].pk).update(status=30, success=True)
        return end_open(*arguments)

    monkeypatch.setattr(transitions, "end_open", done_meanwhile)
    said = act("stop_selected_tasks", *rows)
    assert said == ["Stopped: 1.", "Left as they are, for they are done: 1."]
    assert fresh(rows[0]).success is True
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(rows[1].pk)]


@pytest.mark.parametrize("model", [UuidJob, ChildJob, CodeJob, AsyncJob])
def test_actions_on_other_kinds_of_rows(model, act):
    row = ChildJob.objects.create() if model is ChildJob else make(model)[0]
    queued()
    assert act("mark_selected_tasks_done", row) == ["1 item has been successfully completed."]
    assert fresh(row).status == 30
    act("reset_selected_tasks", row)
    assert fresh(row).status == 10 and len(queued()) == 1
    if model is not AsyncJob:  # whose admin has the original's three
        act("stop_selected_tasks", row)
        assert fresh(row).success is False


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_rows_of_another_database(act, listed, admin_client):
    [row] = make(Job, using="server")
    child = ChildJob(auto_reset_time=timezone.now())
    child.save(using="server")
    queued()
    assert listed(Job, site="server_admin") == [child.job_ptr, row]
    assert listed(ChildJob, site="server_admin", q=child.pk) == [child]
    for one in (row, child):
        assert act("stop_selected_tasks", one, site="server_admin") == ["Stopped: 1."]
        assert fresh(one).success is False
        act("reset_selected_tasks", one, site="server_admin")
        assert fresh(one).status == 10
        act("force_do_selected_tasks", one, site="server_admin")
        assert fresh(one).success is True
    assert {message["using"] for message in queued()} == {"server"}
    page = url_of(Job, "change", row.pk, site="server_admin")
    assert "/server-admin/jobs/job/" in admin_client.get(page).text


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_filters_and_dates_on_a_database_server(listed):
    live, stale = doing(Job, MINUTE, "server"), doing(Job, -MINUTE, "server")
    now = timezone.localtime()
    query = {"add_time__year": now.year, "add_time__month": now.month}
    assert listed(Job, site="server_admin", **query) == [stale, live]
    assert listed(Job, site="server_admin", stale="lease", age="hour") == [stale]
    assert connections["server"].vendor in ("postgresql", "mysql")


# -- permissions -------------------------------------------------------------------------


@pytest.fixture
def viewer(client, django_user_model):
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_job"))
    client.force_login(user)
    return client


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_who_may_only_view_can_do_nothing(action, viewer):
    [row] = make(Job)
    page = viewer.get(url_of(Job)).text
    assert action not in page and "st2-badge" in page
    form = {"action": action, "_selected_action": [row.pk]}
    viewer.post(url_of(Job), form)
    viewer.post(url_of(Job), {**form, "post": "yes", "_back": "1"})
    assert fresh(row).status == 10 and queued() == []
    assert not LogEntry.objects.exists()


def test_who_may_only_view_sees_the_timeline_and_no_button(viewer):
    [row] = make(Job)
    page = viewer.get(url_of(Job, "change", row.pk)).text
    assert "st2-timeline" in page and 'form="st2-act"' not in page


def test_who_may_not_view_sees_nothing(client, django_user_model):
    [row] = make(Job)
    client.force_login(django_user_model.objects.create_user("other", is_staff=True))
    assert client.get(url_of(Job)).status_code == 403
    assert client.get(url_of(Job, "state", row.pk)).status_code == 403
    client.logout()
    assert client.get(url_of(Job, "state", row.pk)).status_code == 302


def test_who_may_only_view_sees_the_state_and_no_button(viewer):
    [row] = make(Job)
    part = viewer.get(url_of(Job, "state", row.pk)).text
    assert "st2-timeline" in part and 'form="st2-act"' not in part
