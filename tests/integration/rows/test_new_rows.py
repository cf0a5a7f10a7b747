"""A new row's INSERT."""

import datetime

import pytest
from django.core.serializers import deserialize, serialize
from django.db import connections
from django.db.models import Value
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext

from tests.support.project.jobs.models import ChildJob, CodeJob, Job, UuidJob


def test_an_expression_is_left_to_django(using):
    row = Job(note=Upper(Value("loud")))
    row.save(using=using)
    row.refresh_from_db()
    assert (row.note, row.status) == ("LOUD", Job.READY)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (Job, {"pk": 77}),
        (CodeJob, {"code": "a"}),
        (UuidJob, {}),
        (ChildJob, {"extra": "x"}),
    ],
)
def test_keys_that_are_given_and_tables_of_a_child(using, model, fields):
    row = model.objects.using(using).create(**fields)
    again = model.objects.using(using).get(pk=row.pk)
    assert all(getattr(again, name) == value for name, value in fields.items())


def test_a_fixture_is_loaded_as_it_stands(using):
    row = Job.objects.using(using).create(note="kept")
    old = datetime.datetime(2001, 2, 3, tzinfo=datetime.UTC)
    Job.objects.using(using).filter(pk=row.pk).update(add_time=old, mod_time=old)
    text = serialize("json", Job.objects.using(using).filter(pk=row.pk))
    Job.objects.using(using).all().delete()
    [loaded] = deserialize("json", text, using=using)
    loaded.save(using=using)
    again = Job.objects.using(using).get(note="kept")
    assert (again.pk, again.add_time, again.mod_time) == (row.pk, old, old)


def test_a_save_is_one_statement(using):
    with CaptureQueriesContext(connections[using]) as queries:
        Job.objects.using(using).create(note="it's 100 % \\ ü")
    [query] = queries
    assert "INSERT" in query["sql"]
    assert Job.objects.using(using).get().note == "it's 100 % \\ ü", query
