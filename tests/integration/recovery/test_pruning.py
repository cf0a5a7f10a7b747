"""Old DONE rows of models that say how long they keep them, as beat's task deletes them."""

import logging

import pytest
from django.db import connections, models
from django.db.models.signals import post_delete

from simpletask2_celery import tasks
from simpletask2_celery.recovery import pruning
from simpletask2_celery.rows import databases, querysets
from tests.support.project.jobs.models import ChildJob, DayJob, EveryJob, Job, PairJob
from tests.support.rows import DOING, READY, ago, done_jobs, old, statuses

HOUR = 3600


@pytest.fixture(autouse=True)
def keeps(monkeypatch):
    """Let jobs be kept for an hour, and by their class those of their child model."""
    monkeypatch.setattr(Job, "keep_done", HOUR)


def keys(using, model=Job):
    return {*model.objects.using(using).values_list("pk", flat=True)}


def test_done_rows_older_than_that_are_deleted_and_no_others(using):
    made = {
        name: done_jobs(using, 1, **values)[0].pk
        for name, values in {
            "old": {},
            "failed": {"success": False, "done_time": ago(HOUR + 1)},
            "young": {"done_time": ago(HOUR - 60)},
            "ready": {"status": READY},
            "doing": {"status": DOING},
            "without a time": {"done_time": None},
        }.items()
    }
    assert tasks.do_prune() == {"jobs.job": 2, "jobs.childjob": 0}
    assert keys(using) == {*made.values()} - {made["old"], made["failed"]}
    assert tasks.do_prune() == {"jobs.job": 0, "jobs.childjob": 0}


def test_no_seconds_keep_nothing_that_is_done(using, monkeypatch):
    monkeypatch.setattr(Job, "keep_done", 0)
    done_jobs(using, 1, done_time=ago(1))
    Job.objects.using(using).create()
    assert tasks.do_prune()["jobs.job"] == 1
    assert statuses(using) == [READY]


@pytest.mark.parametrize("value", [None, True, "3600", -1, float("nan"), [1], Job.other])
def test_what_is_no_number_of_seconds_deletes_nothing(using, monkeypatch, value):
    monkeypatch.setattr(Job, "keep_done", value)
    done_jobs(using, 2)
    assert tasks.do_prune() == {}
    assert len(keys(using)) == 2


def test_models_that_keep_their_rows_are_left_alone(using):
    DayJob.objects.using(using).bulk_create([DayJob(key="a", **old())])
    assert "jobs.dayjob" not in tasks.do_prune()
    assert DayJob.objects.using(using).count() == 1


def test_more_than_a_page_in_pages(using, django_assert_max_num_queries):
    done_jobs(using, querysets.PAGE + 2)
    with django_assert_max_num_queries(40, connection=connections[using]):
        assert tasks.do_prune()["jobs.job"] == querysets.PAGE + 2
    assert not keys(using)


def test_composite_keys(using, monkeypatch):
    monkeypatch.setattr(PairJob, "keep_done", HOUR)
    rows = [PairJob(tenant=1, number=number, **old()) for number in range(1001)]
    PairJob.objects.using(using).bulk_create(rows)
    assert tasks.do_prune()["jobs.pairjob"] == 1001


def test_rows_of_a_child_model_are_the_childs(using, monkeypatch):
    child = ChildJob.objects.using(using).create(**old())
    monkeypatch.setattr(ChildJob, "keep_done", None)
    assert tasks.do_prune() == {"jobs.job": 0}
    assert keys(using, ChildJob) == keys(using) == {child.pk}
    monkeypatch.setattr(ChildJob, "keep_done", HOUR)
    assert tasks.do_prune() == {"jobs.job": 0, "jobs.childjob": 1}
    assert not keys(using)


def test_related_rows_go_too_and_signals_are_sent(using):
    [job] = done_jobs(using, 1)
    EveryJob.objects.using(using).create(other_job=job)
    deleted = []

    def hear(sender, instance, **kwargs):
        deleted.append(sender)

    post_delete.connect(hear)
    try:
        assert tasks.do_prune()["jobs.job"] == 1
    finally:
        post_delete.disconnect(hear)
    assert {*deleted} == {Job, EveryJob}
    assert not EveryJob.objects.using(using).exists()


@pytest.mark.parametrize("on_delete", [models.PROTECT, models.RESTRICT])
def test_protected_rows_are_left_and_logged(using, monkeypatch, caplog, on_delete):
    caplog.set_level(logging.INFO)
    field = EveryJob._meta.get_field("other_job")
    monkeypatch.setattr(field.remote_field, "on_delete", on_delete)
    rows = done_jobs(using, 3)
    EveryJob.objects.using(using).create(other_job=rows[1])
    assert tasks.do_prune()["jobs.job"] == 2
    assert keys(using) == {rows[1].pk}
    lines = [one.message for one in caplog.records if one.name == pruning.__name__]
    assert lines == [
        "jobs.job: old rows left, because other rows protect them: 1.",
        "jobs.job: old rows deleted: 2.",
    ]


def test_a_row_that_is_reset_before_its_page_is_locked_stays(using, monkeypatch):
    one, two = done_jobs(using, 2)
    real = pruning.delete

    def reset_first(rows, still, page):
        Job.objects.using(using).get(pk=one.pk).reset()
        return real(rows, still, page)

    monkeypatch.setattr(pruning, "delete", reset_first)
    assert tasks.do_prune()["jobs.job"] == 1
    assert keys(using) == {one.pk}


def test_all_databases_that_hold_the_model(using):
    for alias in ("default", "server"):
        done_jobs(alias, 2)
    assert tasks.do_prune()["jobs.job"] == 4


def test_a_database_without_the_table_and_a_replica_are_left_alone(using, monkeypatch):
    for alias in ("default", "server"):
        done_jobs(alias, 1)
    monkeypatch.setattr(databases, "candidates", lambda model: [using])
    assert tasks.do_prune()["jobs.job"] == 1
    monkeypatch.undo()
    monkeypatch.setattr(Job, "keep_done", HOUR)
    monkeypatch.setattr(databases, "holds", lambda model, alias: alias == using)
    assert tasks.do_prune()["jobs.job"] == 0


def test_a_table_that_fails_does_not_stop_the_others(using, monkeypatch, caplog):
    monkeypatch.setattr(DayJob, "keep_done", HOUR)
    for alias in ("default", "server"):
        done_jobs(alias, 1)
        DayJob.objects.using(alias).bulk_create([DayJob(key="a", **old())])
    real = pruning.delete

    def fails(rows, still, page):
        if (rows.model, rows.db) == (Job, using):
            raise RuntimeError("as told")
        return real(rows, still, page)

    monkeypatch.setattr(pruning, "delete", fails)
    with pytest.raises(pruning.PruneFailed, match=r"jobs\.job \(RuntimeError\); the others'"):
        tasks.do_prune()
    left = {alias: len(keys(alias)) for alias in ("default", "server")}
    assert left.pop(using) == 1 and set(left.values()) == {0}
    assert not any(DayJob.objects.using(alias).exists() for alias in ("default", "server"))
    [line] = [one for one in caplog.records if one.levelname == "ERROR"]
    assert f"jobs.job ({using})" in line.message and line.exc_info


def test_a_long_prune_ends_before_the_next_one_and_that_goes_on(using, monkeypatch):
    done_jobs(using, 5)
    monkeypatch.setattr(querysets, "page_size", lambda model: 2)
    monkeypatch.setattr(pruning, "PATIENCE", 0.0)
    assert [tasks.do_prune()["jobs.job"] for _ in range(4)] == [2, 2, 1, 0]


def test_the_deadline_leaves_time_before_the_next_of_beat():
    assert pruning.PATIENCE < pruning.INTERVAL
    assert tasks.do_prune.expires == pruning.PATIENCE
