"""What docs/operate/security.md says that a message and an aclkey cannot do."""

import datetime

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.urls import reverse
from django.utils import timezone

from simpletask2_celery import tasks
from tests.support.fixtures import messages, queued
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import DurableJob, Job, Steps
from tests.support.rows import DOING, DONE, at

MORE = {"force": True, "step": 1, "status": 10, "what": "fail", "success": False}


def named(row, using):
    meta = row._meta
    return {
        "app_label": meta.app_label,
        "model": meta.model_name,
        "id": row.pk,
        "using": using,
    }


@pytest.mark.parametrize("status", [20, 30])
def test_a_message_runs_only_ready_rows_and_changes_no_field(using, status):
    row = Job.objects.using(using).create(status=status)
    before = Job.objects.using(using).filter(pk=row.pk).values().get()
    answer = tasks.do_task(**named(row, using), **MORE)
    assert answer["error"]["code"] == {20: 2910013, 30: 2910015}[status]
    assert Job.objects.using(using).filter(pk=row.pk).values().get() == before


def test_what_a_message_carries_beside_the_name_is_ignored(using):
    row = Job.objects.using(using).create()
    assert tasks.do_task(**named(row, using), **MORE)["success"] is True
    row.refresh_from_db()
    assert (row.what, row.success) == ("nothing", True)


def test_a_message_chooses_no_step(using, handler):
    def told(row, payload):
        row.note += str(payload["step"])

    row = Steps.objects.using(using).create(what=handler(told))
    assert tasks.do_task(**named(row, using), step=3, current_step=3)["success"] is True
    row.refresh_from_db()
    assert (row.note, row.current_step) == ("1234", 4)


@pytest.mark.parametrize("later", ["countdown", "eta"])
def test_a_message_runs_a_row_at_once_that_was_published_for_later(using, later):
    [row] = Job.objects.using(using).bulk_create([Job()])
    row = Job.objects.using(using).get()
    when = {"countdown": 600} if later == "countdown" else {"eta": _in_ten_minutes()}
    row.publish(**when)
    [(_, message)] = messages()
    assert message.headers["eta"]  # its own message waits for that
    assert tasks.do_task(**named(row, using))["success"] is True
    row.refresh_from_db()
    assert (row.status, row.success) == (DONE, True)


def test_no_message_runs_a_durable_row_before_it_is_due(using):
    row = DurableJob.objects.using(using).create(run_after=_in_ten_minutes())
    assert tasks.do_task(**named(row, using))["error"]["code"] == 2910016
    row.refresh_from_db()
    assert (row.status, row.attempts) == (row.READY, 0)


def _in_ten_minutes():
    return timezone.now() + datetime.timedelta(minutes=10)


@pytest.fixture
def proxy_of_jobs():
    """A proxy model, of Django's, with a handler of its own."""

    class JobByProxy(Job):
        class Meta:
            proxy = True
            app_label = "jobs"

        def do_task_main(self, payload):
            return "by proxy"

    yield JobByProxy
    del apps.all_models["jobs"]["jobbyproxy"]
    apps.clear_cache()


def test_a_message_may_have_a_row_run_by_a_proxy_models_handler(using, proxy_of_jobs, monkeypatch):
    monkeypatch.setattr(handlers, "nothing", lambda row, payload: "by the model")
    row = Job.objects.using(using).create()
    by_proxy = {**named(row, using), "model": "jobbyproxy"}
    assert tasks.do_task(**by_proxy)["result"]["data"] == "by proxy"
    row.reset()
    assert tasks.do_task(**named(row, using))["result"]["data"] == "by the model"


def test_a_reset_leaves_rows_alone_whose_time_is_not_over(using):
    rows = [Job.objects.using(using).create() for _ in range(3)]
    at(using, rows[1], 60, status=DOING)
    Job.objects.using(using).filter(pk=rows[2].pk).update(status=DONE)
    queued()
    before = [*Job.objects.using(using).order_by("pk").values()]
    assert tasks.do_auto_reset()["jobs.job"] == 0
    assert [*Job.objects.using(using).order_by("pk").values()] == before
    assert queued() == []


def test_a_message_holds_a_name_and_no_data(using):
    row = Job.objects.using(using).create(note="s3cret", other=987654321)
    [(kwargs, message)] = messages()
    place = {} if using == "default" else {"using": using}
    assert kwargs == {"app_label": "jobs", "model": "job", "id": row.pk, **place}
    sent = f"{message.headers} {message.properties} {message.payload}"
    assert "s3cret" not in sent and "987654321" not in sent


def test_a_message_names_no_other_model_and_no_other_database(using):
    user = get_user_model().objects.using(using).create(username="u")
    answer = tasks.do_task(**named(user, using))
    assert answer["error"]["code"] == 2910006
    row = Job.objects.using(using).create()
    assert tasks.do_task(**named(row, "elsewhere"))["error"]["code"] == 2910005


@pytest.mark.django_db(transaction=True)
def test_the_aclkey_runs_no_row_by_force(client, settings):
    row = Job.objects.create(status=30)
    key = settings.DJANGO_SIMPLETASK2_ACLKEY
    body = {"aclkey": key, "task_info": row.get_task_info(), **MORE}
    answer = client.post(
        reverse("django_simpletask2.do_task"), body, content_type="application/json"
    )
    assert answer.json()["error"]["code"] == 2910015
