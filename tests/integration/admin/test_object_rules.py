"""The rules of a ModelAdmin: of an action for each row, of buttons, of the dashboard."""

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.urls import reverse

from simpletask2_celery.admin import actions
from tests.support.fixtures import queued
from tests.support.project.jobs.models import ChannelJob, Job
from tests.support.rows import DOING, DONE, READY

ACTIONS = [action.__name__ for action in actions.ACTIONS]


@pytest.fixture
def mine(monkeypatch):
    """Let nobody change rows whose note is "theirs"."""
    modeladmin = admin.site.get_model_admin(Job)

    def may(request, obj=None):
        return obj is None or obj.note != "theirs"

    monkeypatch.setattr(modeladmin, "has_change_permission", may)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("action", ACTIONS)
def test_an_action_leaves_rows_alone_that_the_user_may_not_change(admin_client, mine, action):
    status = 10 if action == "publish_selected_tasks" else DOING
    theirs = Job.objects.create(note="theirs")
    own = Job.objects.create(note="own")
    Job.objects.update(status=status)
    queued()
    answer = admin_client.post(
        reverse("admin:jobs_job_changelist"),
        {"action": action, "_selected_action": [theirs.pk, own.pk]},
        follow=True,
    )
    theirs.refresh_from_db()
    assert (theirs.status, theirs.success, theirs.done_time) == (status, None, None)
    own.refresh_from_db()
    ids = [message["id"] for message in queued()]
    assert theirs.pk not in ids and (own.status != DOING or own.pk in ids)
    said = " ".join(str(message) for message in answer.context["messages"])
    assert "for you may not change them: 1." in said


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("action", "end"),
    [
        ("publish_selected_tasks", (READY, None)),
        ("reset_selected_tasks", (READY, None)),
        ("stop_selected_tasks", (DONE, False)),
        ("mark_selected_tasks_done", (DONE, None)),
        ("force_do_selected_tasks", (DONE, True)),
    ],
)
def test_who_may_change_a_model_may_do_everything_to_its_rows(
    client, django_user_model, action, end
):
    user = django_user_model.objects.create_user("operator", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="change_job"))
    client.force_login(user)
    row = Job.objects.create()
    if action == "reset_selected_tasks":
        Job.objects.update(status=DONE, success=True)
    queued()
    form = {"action": action, "_selected_action": [row.pk]}
    assert client.post(reverse("admin:jobs_job_changelist"), form).status_code == 302
    row.refresh_from_db()
    assert (row.status, row.success) == end
    assert [one["id"] for one in queued()] == ([row.pk] if end[0] == READY else [])


@pytest.mark.django_db(transaction=True)
def test_a_row_that_the_user_may_not_change_has_no_buttons(admin_client, mine):
    rows = {note: Job.objects.create(note=note) for note in ("theirs", "own")}
    shown = {}
    for note, row in rows.items():
        page = admin_client.get(reverse("admin:jobs_job_change", args=[row.pk]))
        shown[note] = 'value="stop_selected_tasks"' in page.content.decode()
    assert shown == {"theirs": False, "own": True}
    queued()


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_the_dashboard_shows_what_the_modeladmin_lets_be_seen(admin_client, monkeypatch):
    ChannelJob.objects.create(topic="a")
    queued("a")
    url = reverse("admin:simpletask2_dashboard")
    assert "jobs.channeljob" in admin_client.get(url).content.decode()
    modeladmin = admin.site.get_model_admin(ChannelJob)
    monkeypatch.setattr(modeladmin, "has_view_permission", lambda request, obj=None: False)
    assert "jobs.channeljob" not in admin_client.get(url).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_channel_that_no_database_holds_has_no_rows(admin_client):
    ChannelJob.objects.create(topic="a", status=DONE)
    answer = admin_client.get(reverse("admin:jobs_channeljob_changelist") + "?channel=%00")
    assert answer.status_code == 200 and answer.context["cl"].result_count == 0
