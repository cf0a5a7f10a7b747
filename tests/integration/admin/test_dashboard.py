"""The dashboard: who sees what of it, and that it comes whatever is down."""

import re
import socket

import pytest
from celery import current_app
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from simpletask2_celery.admin import dashboard
from simpletask2_celery.rows import at_once
from simpletask2_celery.watching import counts, figures
from tests.support.fixtures import queue_name, queued
from tests.support.project.jobs.models import (
    ChannelJob,
    CodeJob,
    DurableJob,
    EveryJob,
    Steps,
    UuidJob,
)
from tests.support.rows import DOING, DONE, ago, make

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])


@pytest.fixture
def page(admin_client):
    def get():
        answer = admin_client.get(reverse("admin:simpletask2_dashboard"))
        assert answer.status_code == 200
        return answer.content.decode()

    return get


def test_it_shows_the_rows_of_each_model_and_where_they_are(page):
    make("default", 3)
    make("default", 1, status=DOING, auto_reset_time=ago(5))
    make("default", 2, status=DONE, success=False, start_time=ago(60), done_time=ago(50))
    make("default", 1, ChannelJob, {"topic": "<b>mail</b>"})
    text = page()
    assert 'href="/admin/jobs/job/?stale=lease"><span class="st2-big">1</span>' in text
    wanted = "?status__exact=30&amp;success__exact=0"
    assert f'href="/admin/jobs/job/{wanted}"><span class="st2-big">2</span>' in text
    assert "2 ended, 2 of them failed" in text
    assert "&lt;b&gt;mail&lt;/b&gt;" in text and "<b>mail" not in text
    name = queue_name("&lt;b&gt;mail&lt;/b&gt;")
    assert f"No worker serves {queue_name()}, {name}." in text
    queued()


def test_rows_that_are_tried_again_or_wait_for_their_time_are_counted(page):
    make("default", 3, DurableJob, attempts=1, run_after=ago(-60))
    make("default", 2, DurableJob, run_after=ago(-7 * 86400))
    make("default", 1, ChannelJob)
    queued()
    text = page()
    for choice, count in (("retrying", 3), ("scheduled", 2)):
        url = f"/admin/jobs/durablejob/?attempt={choice}"
        assert f'href="{url}"><span class="st2-big">{count}</span>' in text
    assert "/admin/jobs/channeljob/?attempt" not in text


def test_without_rows_it_comes_as_well(page):
    text = page()
    assert "No worker serves" not in text
    assert "Workers online" in text and "st2-card" not in text
    assert '<th scope="row"><a href="/admin/jobs/job/">Jobs</a>' in text


def lines(text):
    """Return {label of a model: its numbers in the table of all}, in the table's order."""
    found = re.findall(r'<th scope="row">.*?<small>(.*?)</small></th>(.*?)</tr>', text, re.DOTALL)
    return {label: re.findall("<td[^>]*>(.*?)</td>", cells) for label, cells in found}


def test_all_models_are_listed_and_the_worst_comes_first(page):
    make("default", 1, UuidJob, status=DOING, auto_reset_time=ago(3600))
    make("default", 2, ChannelJob, status=DOING, auto_reset_time=ago(0.5))
    make("default", 3, status=DONE, success=False, start_time=ago(60), done_time=ago(50))
    make("default", 2, Steps, status=DONE, success=False, start_time=ago(9), done_time=ago(7200))
    make("default", 1, CodeJob, {"code": "old"}, add_time=ago(900), auto_reset_time=ago(-60))
    make("default", 5, EveryJob, status=DONE, success=True, start_time=ago(9), done_time=ago(5))
    found = lines(page())
    worst = ["uuidjob", "channeljob", "job", "steps", "codejob", "everyjob"]
    assert list(found)[:6] == [f"jobs.{name}" for name in worst]
    assert len(found) > 6 and set(found["jobs.asyncjob"]) == {"0", "–"}
    # overdue, stale, failed in an hour and in a day, oldest, ready, doing, ended
    assert found["jobs.uuidjob"] == ["1", "1", "0", "0", "–", "0", "1", "0"]
    assert found["jobs.channeljob"][:4] == ["0", "2", "0", "0"]
    assert found["jobs.job"] == ["0", "0", "3", "3", "–", "0", "0", "3"]
    assert found["jobs.steps"] == ["0", "0", "0", "2", "–", "0", "0", "0"]
    assert found["jobs.codejob"][4:] == ["15 min", "1", "0", "0"]
    assert found["jobs.everyjob"][-1] == "5"
    queued()


def test_a_model_that_could_not_be_read_comes_before_all(page, monkeypatch):
    make("default", 1, UuidJob, status=DOING, auto_reset_time=ago(3600))
    make("default", 1, Steps)
    read = counts.not_done

    def broken(model, *arguments):
        if model is Steps:
            raise DatabaseError
        return read(model, *arguments)

    monkeypatch.setattr(counts, "not_done", broken)
    problem = "Not read: DatabaseError."
    wanted = [f"jobs.steps{using} · {problem}" for using in ("", " · server")]
    assert list(lines(page()))[:3] == [*wanted, "jobs.uuidjob"]


def test_it_has_an_address_and_a_place_in_the_index_and_the_menu(admin_client):
    url = reverse("admin:simpletask2_dashboard")
    assert url == "/admin/simpletask2_celery/dashboard/"
    for name in ("index", "jobs_job_changelist", "simpletask2_dashboard"):
        assert f'<a href="{url}"' in admin_client.get(reverse(f"admin:{name}")).text
    other = reverse("admin:simpletask2_dashboard", current_app="server_admin")
    assert f'<a href="{other}"' in admin_client.get("/server-admin/").text


def test_the_index_names_it_to_those_who_may_view_a_task_model(client, django_user_model):
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    client.force_login(user)
    url = reverse("admin:simpletask2_dashboard")
    assert url not in client.get("/admin/").text
    user.user_permissions.add(Permission.objects.get(codename="view_job"))
    assert url in client.get("/admin/").text


def test_it_leaves_no_trace_in_the_database_or_among_the_models(admin_client):
    assert "dashboard" not in {model._meta.model_name for model in apps.get_models()}
    assert not Permission.objects.filter(codename__contains="dashboard")
    for page in ("add/", "1/change/", "1/delete/"):
        answer = admin_client.get(reverse("admin:simpletask2_dashboard") + page)
        assert answer.status_code == 404


def test_a_broker_that_is_down_is_shown_as_down(page):
    with socket.socket() as refusing, pytest.MonkeyPatch.context() as patch:
        refusing.bind(("127.0.0.1", 0))
        url = f"redis://:a-secret@127.0.0.1:{refusing.getsockname()[1]}/0"
        patch.setattr(current_app.conf, "broker_write_url", url)
        text = page()
        assert "is down (" in text and "a-secret" not in text
        for thread in list(at_once._hung.values()):
            thread.join(10)


def test_a_table_that_is_not_read_is_said_so(page, monkeypatch):
    make("default")
    monkeypatch.setattr(figures, "ALL", -1)
    assert "The database took too long to say more." in page()


def test_who_may_not_view_a_model_sees_nothing_of_it(client, django_user_model):
    make("default")
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    client.force_login(user)
    url = reverse("admin:simpletask2_dashboard")
    assert "no task model that you may view" in client.get(url).content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_job"))
    text = client.get(url).content.decode()
    assert "jobs.job" in text and "jobs.channeljob" not in text and "No task" not in text
    client.logout()
    assert client.get(url).status_code == 302


def test_the_number_of_queries_does_not_grow_with_the_rows(page, monkeypatch):
    for limit in ("LIMIT", "ALL"):  # what takes too long is left out
        monkeypatch.setattr(figures, limit, 60.0)

    def count():
        with CaptureQueriesContext(connection) as queries:
            page()
        return len(queries)

    make("default", 2, status=DONE, success=True, start_time=ago(9), done_time=ago(5))
    count()
    few = count()
    make("default", 50, status=DONE, success=True, start_time=ago(9), done_time=ago(5))
    assert count() == few


def test_the_list_has_a_link_to_it(admin_client):
    text = admin_client.get(reverse("admin:jobs_job_changelist")).content.decode()
    assert f'href="{reverse("admin:simpletask2_dashboard")}"' in text


def test_a_model_that_no_admin_shows_has_a_card_without_links(page):
    EveryJob.objects.create()
    text = page()
    assert 'id="st2-jobs-everyjob-default"' in text and "/admin/jobs/everyjob/" not in text
    queued()


def test_who_walks_through_what_a_site_has_meets_no_missing_table(admin_client):
    model = dashboard.Dashboard
    with CaptureQueriesContext(connection) as queries:
        assert model.objects.count() == 0 and not model._default_manager.exists()
    assert not len(queries)
    assert model._meta.app_config is apps.get_app_config("simpletask2_celery")
    assert "simpletask2_celery_dashboard" not in connection.introspection.table_names()


def test_a_site_without_it_has_lists_without_a_link(rf, admin_user, monkeypatch):
    modeladmin = admin.site.get_model_admin(ChannelJob)
    monkeypatch.setattr(dashboard, "NAME", "no_such_page")
    request = rf.get("/")
    request.user = admin_user
    text = modeladmin.changelist_view(request).render().content.decode()
    assert "st2-tool" not in text
