"""Messages and settings that are wrong: the right code, a log line, no row touched."""

import logging

import pytest
from django.contrib.auth.models import User

from simpletask2_celery import tasks
from tests.support.project.jobs.models import CodeJob, Job, PairJob, UuidJob

GOOD = {"app_label": "jobs", "model": "job", "id": 1}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"app_label": "nowhere"}, 2910006),
        ({"model": "nothing"}, 2910006),
        ({"app_label": "auth", "model": "user"}, 2910006),
        ({"model": "ledger"}, 2910006),
        ({"model": "a.b c"}, 2910006),
        ({"app_label": 7}, 2910005),
        ({"model": ["job"]}, 2910005),
        ({"id": "x"}, 2910005),
        ({"id": ""}, 2910005),
        ({"id": True}, 2910005),
        ({"id": 1.5}, 2910005),
        ({"id": [1]}, 2910005),
        ({"id": {"pk": 1}}, 2910005),
        ({"id": "1\0"}, 2910005),
        ({"id": 10**30}, 2910005),
        ({"id": -1}, 2910004),
        ({"using": "elsewhere"}, 2910005),
        ({"using": 3}, 2910005),
        ({"id": None}, 2910011),
        ({"model": None}, 2910011),
        ({"app_label": None}, 2910011),
    ],
)
def test_a_bad_message_is_answered_and_touches_nothing(using, caplog, change, code):
    User.objects.db_manager(using).create(username="a")
    Job.objects.using(using).create()
    before = list(Job.objects.using(using).values())
    place = {} if using == "default" else {"using": using}
    caplog.set_level(logging.INFO, "simpletask2_celery.tasks")
    caplog.clear()
    answer = tasks.do_task(**{**GOOD, **place, **change})
    assert answer["success"] is False
    assert answer["error"]["code"] == code
    [record] = [r for r in caplog.records if r.name == "simpletask2_celery.tasks"]
    assert str(code) in record.getMessage()
    assert list(Job.objects.using(using).values()) == before


@pytest.mark.parametrize("missing", ["app_label", "model", "id"])
def test_a_missing_part_is_named(using, missing):
    kwargs = {name: value for name, value in GOOD.items() if name != missing}
    assert tasks.do_task(**kwargs)["error"]["code"] == 2910011
    assert tasks.do_task()["error"]["code"] == 2910011


@pytest.mark.parametrize(
    ("model", "key"),
    [
        (UuidJob, "not-a-uuid"),
        (UuidJob, 10**50),
        (PairJob, "[1]"),
        (PairJob, "[1, 2, 3]"),
        (PairJob, "[1, []]"),
        (PairJob, "{}"),
        (PairJob, "x"),
        (PairJob, 7),
    ],
)
def test_an_id_of_another_kind_of_key(using, model, key):
    place = {} if using == "default" else {"using": using}
    message = {"app_label": "jobs", "model": model.__name__.lower(), "id": key, **place}
    assert tasks.do_task(**message)["error"]["code"] == 2910005


def test_a_key_longer_than_its_column(using):
    place = {} if using == "default" else {"using": using}
    message = {"app_label": "jobs", "model": "codejob", "id": "x" * 100_000, **place}
    assert tasks.do_task(**message)["error"]["code"] in (2910004, 2910005)
    assert not CodeJob.objects.using(using).exists()


def test_what_later_versions_may_add_to_a_message_is_no_error(using):
    row = Job.objects.using(using).create()
    place = {} if using == "default" else {"using": using}
    message = {**GOOD, "id": row.pk, **place, "attempt": 3}
    assert tasks.do_task(**message)["success"] is True
