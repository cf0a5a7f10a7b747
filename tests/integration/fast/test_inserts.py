"""The INSERT of a shortcut is the one that Django would send."""

from django.db import models

from simpletask2_celery import fast
from tests.support.project.jobs.models import EveryJob, Job
from tests.support.rows import BEFORE

KEPT = {"id", "add_time", "mod_time", "auto_reset_time"}  # what differs between two rows


def values(row):
    found = type(row).objects.using(row._state.db).filter(pk=row.pk).values().get()
    return {name: value for name, value in found.items() if name not in KEPT}


def test_every_kind_of_field_is_inserted_as_django_does(using, monkeypatch):
    mine = EveryJob.objects.using(using).create(**BEFORE)
    monkeypatch.setattr(fast, "insert_of", lambda *_: None)
    theirs = EveryJob.objects.using(using).create(**BEFORE)
    assert values(mine) == values(theirs)
    assert type(mine.pk) is int and mine.pk != theirs.pk


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
    monkeypatch.setattr(fast, "insert_of", lambda *_: None)
    asked.clear()
    Job.objects.using(using).create(note="x")
    assert ours == asked  # once by Django 5.2, twice from 6.0 on
    assert set(asked) == {True}
