"""The original's three admin actions."""

import pytest
from django.urls import reverse

from tests.support.fixtures import queued
from tests.support.project.jobs.models import Job


@pytest.fixture
def act(admin_client):
    def run(action, *rows):
        answer = admin_client.post(
            reverse("admin:jobs_job_changelist"),
            {"action": action, "_selected_action": [row.pk for row in rows]},
            follow=True,
        )
        assert answer.status_code == 200
        for row in rows:
            row.refresh_from_db()
        return [str(message) for message in answer.context["messages"]]

    return run


@pytest.mark.django_db(transaction=True)
def test_admin_resets_and_publishes(act):
    rows = [Job.objects.create(status=status) for status in (10, 20, 30)]
    queued()
    assert act("reset_selected_tasks", *rows) == ["3 items have been reset successfully."]
    assert {row.status for row in rows} == {10}
    assert sorted(m["id"] for m in queued()) == sorted(row.pk for row in rows)


@pytest.mark.django_db(transaction=True)
def test_admin_runs_by_force_and_says_what_failed(act):
    rows = [Job.objects.create(status=30), Job.objects.create(what="fail")]
    said = act("force_do_selected_tasks", *rows)
    assert said == ["1 item has been successfully completed.", "1 item failed."]
    assert [row.success for row in rows] == [True, False]


@pytest.mark.django_db(transaction=True)
def test_admin_marks_done(act):
    rows = [Job.objects.create(), Job.objects.create(status=20)]
    act("mark_selected_tasks_done", *rows)
    assert {row.status for row in rows} == {30}
    assert all(row.done_time and row.auto_reset_time is None for row in rows)


@pytest.mark.django_db(transaction=True)
def test_who_may_only_view_has_no_action(client, django_user_model):
    from django.contrib.auth.models import Permission

    user = django_user_model.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_job"))
    client.force_login(user)
    row = Job.objects.create()
    page = client.get(reverse("admin:jobs_job_changelist"))
    assert b"mark_selected_tasks_done" not in page.content
    client.post(
        reverse("admin:jobs_job_changelist"),
        {"action": "mark_selected_tasks_done", "_selected_action": [row.pk]},
    )
    row.refresh_from_db()
    assert row.status == 10
