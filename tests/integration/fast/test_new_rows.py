"""A new row's INSERT: what Django would send, and Django's own where ours cannot."""

import datetime

import pytest
from django.core.serializers import deserialize, serialize
from django.db import connections, models
from django.db.models import Value
from django.db.models.functions import Upper
from django.test.utils import CaptureQueriesContext

from simpletask2_celery.fast import statements
from tests.support.project.jobs.models import ChildJob, CodeJob, EveryJob, Job, UuidJob
from tests.support.rows import BEFORE

KEPT = {"id", "add_time", "mod_time", "auto_reset_time"}  # what differs between two rows


def values(row):
    found = type(row).objects.using(row._state.db).filter(pk=row.pk).values().get()
    return {name: value for name, value in found.items() if name not in KEPT}


def test_every_kind_of_field_is_inserted_as_django_does(using, monkeypatch):
    mine = EveryJob.objects.using(using).create(**BEFORE)
    monkeypatch.setattr(statements, "insert_of", lambda *_: None)
    theirs = EveryJob.objects.using(using).create(**BEFORE)
    assert values(mine) == values(theirs)
    assert type(mine.pk) is int and mine.pk != theirs.pk


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


def test_pre_save_is_asked_as_often_as_by_django(using, monkeypatch):
    asked = []

    def pre_save(field, row, add):
        asked.append(add)
        return models.CharField.pre_save(field, row, add)

    monkeypatch.setattr(
        Job._meta.get_field("note"),
        "pre_save",
        pre_save.__get__(Job._meta.get_field("note")),
    )
    Job.objects.using(using).create(note="x")
    ours = asked.copy()
    monkeypatch.setattr("simpletask2_celery.fast.statements.insert_of", lambda *given: None)
    asked.clear()
    Job.objects.using(using).create(note="x")
    assert ours == asked  # once by Django 5.2, twice from 6.0 on
    assert set(asked) == {True}


def test_a_save_is_one_statement(using):
    with CaptureQueriesContext(
        connections[using],
    ) as queries:
        Job.objects.using(using).create(note="it's 100 % \\ ü")
    [query] = [q for q in queries if "INSERT" in q["sql"]]
    assert Job.objects.using(using).get().note == "it's 100 % \\ ü", query
