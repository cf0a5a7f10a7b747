"""What docs/operate/security.md says that a message and an aclkey cannot do."""

import pytest
from django.contrib.auth import get_user_model
from django.urls import reverse

from simpletask2_celery import tasks
from tests.support.project.jobs.models import Job

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
