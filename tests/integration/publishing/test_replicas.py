"""A router that reads from a replica: what is published is where rows are written."""

import copy
import datetime

import pytest
from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from simpletask2_celery.rows import databases
from simpletask2_celery.running import executor
from simpletask2_celery.testing import published, run
from tests.support.fixtures import queued
from tests.support.project.jobs.models import Job

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


class Router:
    """The primary and replica of "Multiple databases" of Django's documentation."""

    def db_for_read(self, model, **hints):
        return "replica"

    def db_for_write(self, model, **hints):
        return "server"

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return True


@pytest.fixture(scope="module", autouse=True)
def replica(django_db_setup):
    """The same rows by another alias."""
    connections.databases["replica"] = copy.deepcopy(connections["server"].settings_dict)
    yield
    connections["replica"].close()
    del connections["replica"], connections.databases["replica"]


@pytest.fixture(autouse=True)
def router(db, settings):
    settings.DATABASE_ROUTERS = [Router()]
    is_mysql = connections["replica"].vendor == "mysql"
    of_all = "" if is_mysql else "CHARACTERISTICS AS "
    with connections["replica"].cursor() as cursor:
        cursor.execute(f"SET SESSION {of_all}TRANSACTION READ ONLY")
    with pytest.raises(DatabaseError):
        Job.objects.using("replica").update(what="fail")
    yield
    connections["replica"].close()


def make():
    """Return a row that nobody has published, as it is read from the replica."""
    later = timezone.now() + datetime.timedelta(hours=1)
    Job.objects.using("server").bulk_create([Job(auto_reset_time=later)])
    row = Job.objects.latest("pk")
    assert row._state.db == "replica"
    return row


def written(row):
    return Job.objects.using("server").get(pk=row.pk)


def using_of_messages():
    return [message.get("using", "default") for message in queued()]


def test_every_way_to_publish_names_the_primary():
    row = make()
    row.publish()
    Job.publish_many(Job.objects.filter(pk=row.pk))
    Job.publish_many([row])
    row.publish(countdown=1)
    row.reset().publish()
    Job.objects.create()
    assert using_of_messages() == ["server"] * 6


def test_a_delay_is_written_at_the_primary():
    row = make()
    row.publish(countdown=7200)
    due = timezone.now() + datetime.timedelta(hours=2)
    assert abs(written(row).auto_reset_time - due) < datetime.timedelta(minutes=1)


def test_the_message_waits_for_the_primarys_commit():
    row = make()
    with transaction.atomic(using="server"):
        row.publish()
        assert queued() == []
    assert using_of_messages() == ["server"]


def test_transitions_and_runs_are_written_at_the_primary():
    row = make()
    assert row.start() and written(row).status == Job.DOING
    assert row.done() and written(row).status == Job.DONE
    row = make()
    row.do_task()
    assert written(row).status == Job.DONE
    row = make()
    with published() as messages:
        row.publish()
    messages.assert_published(row)
    assert written(run(row).row).success is True


def test_a_save_of_what_was_read_before_a_run_writes_nothing_of_the_state():
    row = make()
    executor.run(Job, "server", row.pk)
    row.what = "nothing"
    row.save()
    assert written(row).status == Job.DONE
    assert row._state.db == "server"


def test_resets_leave_the_replica_alone():
    row = make()
    over = timezone.now() - datetime.timedelta(hours=1)
    Job.objects.using("server").filter(pk=row.pk).update(auto_reset_time=over)
    assert databases.candidates(Job) == ["server"]
    assert Job.do_auto_reset() == 1
    assert using_of_messages() == ["server"]


def test_rows_of_a_database_that_the_author_names_are_found_there():
    Job.objects.using("default").bulk_create([Job()])
    queryset = Job.objects.using("default").filter(status=Job.READY)
    assert Job.publish_many(queryset) == 1
    assert using_of_messages() == ["default"]
    Job.objects.using("default").create()
    assert using_of_messages() == ["default"]


def test_without_a_router_each_database_has_its_own(settings):
    settings.DATABASE_ROUTERS = []
    assert databases.candidates(Job) == ["default", "server", "replica"]
    for alias in ("default", "server"):
        Job.objects.using(alias).bulk_create([Job()])
        Job.objects.using(alias).latest("pk").publish()
        assert using_of_messages() == [alias]
