"""The state machine: compatibility facts, sections 2, 3 and 5."""

import datetime

import pytest
from django.db.models import F
from django.utils import timezone

from simpletask2_celery import tasks
from simpletask2_celery.conf import conf
from simpletask2_celery.exceptions import ClaimLost, DjangoSimpleTask2Error
from simpletask2_celery.models import SimpleTask
from simpletask2_celery.rows import claiming, clock
from simpletask2_celery.running import executor
from tests.support.fixtures import message_of
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import (
    AsyncJob,
    ChannelJob,
    ChildJob,
    CodeJob,
    EveryJob,
    Job,
    PairJob,
    Steps,
    UuidJob,
)
from tests.support.rows import AFTER, BEFORE

TIMES = ["start_time", "step1_time", "step2_time", "step3_time", "done_time"]


def make(model, using, **fields):
    return model.objects.using(using).create(**fields)


def run(row, **kwargs):
    return executor.run(type(row), row._state.db, row.pk, **kwargs)


def set_times(row):
    return [name for name in TIMES if getattr(row, name)]


def code_of(call, *args, **kwargs):
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_a_new_row_is_ready_and_has_a_wait_timeout(using):
    row = make(Job, using)
    row.refresh_from_db()
    assert row.status == Job.READY
    wait = (row.auto_reset_time - row.add_time).total_seconds()
    assert wait == pytest.approx(300, abs=5)
    assert set_times(row) == []


def test_one_step(using, handler):
    seen = []

    def told(row, payload):
        stored = Job.objects.using(using).get(pk=row.pk)
        seen.append((payload, stored.status, stored.current_step, set_times(stored)))
        lease = (stored.auto_reset_time - stored.start_time).total_seconds()
        assert lease == 300
        return {"any": "thing"}

    row = make(Job, using, what=handler(told))
    result = run(row)
    row.refresh_from_db()
    name = f"jobs.job:{row.pk}"
    assert result == {
        "continue_flag": False,
        "task_info": name,
        "next_step": 2,
        "data": {"any": "thing"},
    }
    payload = {"task_info": name, "step": 1}
    assert seen == [(payload, Job.DOING, 1, ["start_time", "step1_time"])]
    assert (row.status, row.success, row.current_step) == (Job.DONE, True, 1)
    assert row.auto_reset_time is None
    assert set_times(row) == ["start_time", "step1_time", "done_time"]


def test_steps_above_three_run_and_see_what_the_step_before_wrote(using, handler):
    seen = []

    def told(row, payload):
        stored = Steps.objects.using(using).get(pk=row.pk)
        seen.append((payload["step"], stored.current_step, stored.note))
        assert payload.get("proxied_content") is None
        row.note = f"after {payload['step']}"

    row = make(Steps, using, what=handler(told))
    assert run(row)["next_step"] == 5
    row.refresh_from_db()
    assert seen == [(1, 1, ""), (2, 2, "after 1"), (3, 3, "after 2"), (4, 4, "after 3")]
    assert (row.note, row.current_step, row.success) == ("after 4", 4, True)
    assert row.current_step_display() == "4/4"
    assert set_times(row) == TIMES


def test_a_failing_handler_ends_the_row(using):
    row = make(Job, using, what="fail")
    with pytest.raises(DjangoSimpleTask2Error, match="ValueError: as told") as caught:
        run(row)
    assert caught.value.code == 2910009
    assert isinstance(caught.value.__cause__, ValueError)
    row.refresh_from_db()
    assert (row.status, row.success, row.auto_reset_time) == (Job.DONE, False, None)
    assert row.done_time


@pytest.mark.parametrize(
    ("before", "code"),
    [
        ({"status": Job.DONE}, 2910015),
        ({"status": Job.DOING, "lease": 60}, 2910013),
        ({"status": Job.DOING, "lease": -60}, 2910008),
    ],
)
def test_why_a_row_cannot_be_claimed(using, before, code):
    row = make(Job, using)
    before = dict(before)
    lease = timezone.now() + datetime.timedelta(seconds=before.pop("lease", 0))
    Job.objects.using(using).filter(pk=row.pk).update(auto_reset_time=lease, **before)
    assert code_of(run, row) == code
    envelope = tasks.do_task(**message_of(row))
    assert (envelope["success"], envelope["error"]["code"]) == (False, code)


def test_a_deleted_row_is_nothing_to_do(using):
    row = make(Job, using)
    message = message_of(row)
    row.delete()
    assert tasks.do_task(**message)["error"]["code"] == 2910004


def test_a_missing_handler_leaves_the_row_as_it_is(using, monkeypatch):
    monkeypatch.setattr(Steps, "final_step", 5)
    row = make(Steps, using)
    assert code_of(run, row) == 2910007
    row.refresh_from_db()
    assert row.status == Steps.READY


def test_a_task_without_do_task_main_is_left_as_it_is(using, monkeypatch):
    row = make(Job, using)
    monkeypatch.delattr(Job, "do_task_main")
    assert code_of(run, row) == 2910007
    row.refresh_from_db()
    assert row.status == Job.READY
    with pytest.raises(NotImplementedError, match="Job needs a method do_task_main"):
        row.do_task_main({})


def test_async_handlers(using):
    row = make(AsyncJob, using)
    assert run(row)["data"] == "awaited"
    row.refresh_from_db()
    assert (row.note, row.success) == ("awaited", True)


def test_every_kind_of_primary_key_runs_from_its_message(using):
    rows = [
        make(UuidJob, using),
        make(CodeJob, using, code="a:b/ü"),
        make(PairJob, using, tenant=1, number=2),
        make(ChildJob, using, extra="x"),
    ]
    for row in rows:
        assert tasks.do_task(**message_of(row))["success"] is True
        row.refresh_from_db()
        assert (row.status, row.success) == (Job.DONE, True)


def test_inheritance_fences_the_parents_table(using, handler):
    def told(row, payload):
        row.extra = "kept by nobody"
        ChildJob.objects.using(using).get(pk=row.pk).reset()
        row.save()

    row = make(ChildJob, using, what=handler(told))
    assert code_of(run, row) == 2910014
    row.refresh_from_db()
    assert (row.status, row.extra) == (Job.READY, "")


def test_a_handlers_save_cannot_undo_the_state_machine(using, handler):
    def told(row, payload):
        row.status, row.start_time, row.auto_reset_time = Job.READY, None, None
        row.note = "saved"
        row.save()
        stored = Job.objects.using(using).get(pk=row.pk)
        assert (stored.status, stored.note) == (Job.DOING, "saved")
        assert stored.start_time and stored.auto_reset_time

    row = make(Job, using, what=handler(told))
    run(row)
    row.refresh_from_db()
    assert (row.status, row.success, row.note) == (Job.DONE, True, "saved")


def test_a_run_does_not_write_over_what_others_changed(using, handler):
    def told(row, payload):
        Job.objects.using(using).filter(pk=row.pk).update(other=7)
        row.note = "mine"

    row = make(Job, using, what=handler(told))
    run(row)
    row.refresh_from_db()
    assert (row.other, row.note) == (7, "mine")


def test_handlers_may_save_refresh_and_update_fields(using, handler):
    def told(row, payload):
        row.note = "a"
        row.save(update_fields=["note"])
        Job.objects.using(using).filter(pk=row.pk).update(other=3)
        row.refresh_from_db()
        assert (row.note, row.other, row.status) == ("a", 3, Job.DOING)
        row.other += 1
        row.save()

    row = make(Job, using, what=handler(told))
    run(row)
    row.refresh_from_db()
    assert (row.note, row.other, row.success) == ("a", 4, True)


@pytest.mark.parametrize("change", ["reset", "again", "done", "deleted"])
@pytest.mark.parametrize("saves", [False, True])
def test_a_run_that_lost_its_claim_changes_nothing(using, handler, change, saves):
    def told(row, payload):
        other = Job.objects.using(using).get(pk=row.pk)
        if change == "deleted":
            other.delete()
        elif change == "done":
            other.done()
        else:
            other.reset()
            if change == "again":
                claiming.claim(Job, using, row.pk)
        row.note = "late"
        if saves:
            row.save()

    row = make(Job, using, what=handler(told))
    assert code_of(run, row) == (2910014 if saves else 2910010)
    stored = Job.objects.using(using).filter(pk=row.pk).first()
    if change == "deleted":
        assert stored is None
    else:
        expected = {"reset": Job.READY, "again": Job.DOING, "done": Job.DONE}
        assert (stored.status, stored.note) == (expected[change], "")


def test_a_handler_that_deletes_its_own_row_does_not_bring_it_back(using, handler):
    def told(row, payload):
        row.delete()

    row = make(Job, using, what=handler(told))
    assert code_of(run, row) == 2910010
    assert not Job.objects.using(using).filter(pk=row.pk).exists()


def test_a_handler_that_lost_its_claim_deletes_nothing(using, handler):
    def told(row, payload):
        Job.objects.using(using).get(pk=row.pk).reset()
        row.delete()

    row = make(Job, using, what=handler(told))
    assert code_of(run, row) == 2910014
    row.refresh_from_db()
    assert row.status == Job.READY


def test_a_failing_handler_that_lost_its_claim_changes_nothing(using, handler):
    def told(row, payload):
        Job.objects.using(using).get(pk=row.pk).reset()
        raise ValueError("late")

    row = make(Job, using, what=handler(told))
    assert code_of(run, row) == 2910009
    row.refresh_from_db()
    assert (row.status, row.success) == (Job.READY, None)


def test_do_task_runs_one_step_for_a_caller(using, handler):
    row = make(Steps, using, what=handler(lambda row, payload: payload))
    for step in (1, 2, 3, 4):
        fresh = Steps.objects.using(using).get(pk=row.pk)
        result = fresh.do_task({"step": step, "proxied_content": "eA==\n"})
        assert result["continue_flag"] is (step < 4)
        assert result["next_step"] == step + 1
        assert result["data"]["step"] == step
        assert result["data"]["proxied_content"] == "eA==\n"
        row.refresh_from_db()
        assert row.current_step == step
    assert (row.status, row.success) == (Steps.DONE, True)
    assert code_of(row.do_task, {"step": 4}) == 2910015


def test_a_step_posted_twice_or_out_of_order_runs_once(using):
    row = make(Steps, using)
    row.do_task({"step": 1})
    assert code_of(row.do_task, {"step": 1}) == 2910013
    assert code_of(row.do_task, {"step": 3}) == 2910014
    row.do_task({"step": 2})
    assert code_of(row.do_task, {"step": 2}) == 2910013
    row.reset()
    assert code_of(row.do_task, {"step": 3}) == 2910014
    assert code_of(row.do_task, {"step": 9}) == 2910007


@pytest.mark.parametrize("status", [Job.READY, Job.DOING, Job.DONE])
def test_force_runs_a_row_in_any_status(using, status):
    row = make(Job, using)
    lease = timezone.now() + datetime.timedelta(seconds=60)
    Job.objects.using(using).filter(pk=row.pk).update(status=status, auto_reset_time=lease)
    row.do_task(force=True)
    row.refresh_from_db()
    assert (row.status, row.success) == (Job.DONE, True)


def test_force_runs_a_late_step(using):
    row = make(Steps, using)
    assert row.do_task({"step": 4}, force=True)["continue_flag"] is False
    row.refresh_from_db()
    assert (row.status, row.current_step) == (Steps.DONE, 4)


def test_start_done_and_reset_by_hand(using):
    row = make(Job, using)
    twin = Job.objects.using(using).get(pk=row.pk)
    assert row.start() is True
    assert twin.start() is False  # the row is no longer what the twin has in memory
    assert twin.status == Job.READY
    assert row.start() is False
    assert row.start(force=True) is True
    assert row.done() is True
    assert row.done() is False
    row.success = False
    assert row.done(force=True) is True
    row.refresh_from_db()
    assert (row.status, row.success) == (Job.DONE, False)
    assert row.reset() is row
    row.refresh_from_db()
    assert (row.status, row.success, row.current_step) == (Job.READY, None, None)
    assert set_times(row) == []
    assert row.auto_reset_time
    row.start(save=False)
    row.refresh_from_db()
    assert row.status == Job.READY


def test_names_of_a_row(using):
    row = make(ChannelJob, using, topic="mail")
    assert row.get_channel_name() == row.channel_name() == "mail"
    assert make(ChannelJob, using).get_channel_name() == "default"
    assert row.get_task_info() == f"jobs.channeljob:{row.pk}"
    assert Steps().final_step_number() == 4
    assert Steps().current_step_display() == "0/4"


def test_timeouts_at_run_time(using):
    key = "django-simpletask2:{}-timeout:mail"
    redis = ChannelJob.get_redis_conn()
    try:
        redis.set(key.format("task-wait"), 7)
        redis.set(key.format("do-task"), "11")
        row = make(ChannelJob, using, topic="mail")
        row.refresh_from_db()
        wait = (row.auto_reset_time - row.add_time).total_seconds()
        assert wait == pytest.approx(7, abs=1)
        claimed = claiming.claim(ChannelJob, using, row.pk)
        row.refresh_from_db()
        lease = (row.auto_reset_time - row.start_time).total_seconds()
        assert lease == 11
        assert claimed.auto_reset_time == row.auto_reset_time
    finally:
        redis.delete(key.format("task-wait"), key.format("do-task"))


def test_a_number_that_is_none_is_named_and_ignored(using, caplog):
    redis = ChannelJob.get_redis_conn()
    key = "django-simpletask2:task-wait-timeout:rubbish"
    try:
        redis.set(key, "soon")
        assert ChannelJob(topic="rubbish").get_task_wait_timeout() == 300
        assert key in caplog.text
    finally:
        redis.delete(key)


def test_saving_needs_no_redis(using, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://127.0.0.1:1",
        }
    }
    assert make(Job, using).pk


def test_queries_of_a_run(using, django_assert_num_queries):
    from django.db import connections

    row = make(Job, using)
    clock.now(using)  # which asks the database once a minute
    at_once = connections[using].vendor == "postgresql"  # UPDATE … RETURNING
    if not conf.shortcuts:  # which lock the row, and load it, by statements of their own
        number = {"postgresql": 6, "mysql": 3, "sqlite": 3}[connections[using].vendor]
    else:
        number = 2 if at_once else 3
    with django_assert_num_queries(number, connection=connections[using]) as queries:
        run(row)
    # SQLite in this project opens its transactions with BEGIN IMMEDIATE.
    written = [q for q in queries.captured_queries if not q["sql"].startswith("SELECT")]
    assert sum("UPDATE " in q["sql"] for q in written) == 2  # not SELECT … FOR NO KEY UPDATE


def test_a_finish_the_database_refuses_is_2910010(using, handler):
    def told(row, payload):
        row.other = "no number"

    row = make(Job, using, what=handler(told))
    assert code_of(run, row) == 2910010
    row.refresh_from_db()
    assert row.status == Job.DOING  # the lease will find it


def test_a_finish_that_the_models_own_save_refuses_is_2910010(using, monkeypatch):
    def save(row, *args, **kwargs):
        if row.status == Job.DONE:
            raise ValueError("never done")
        SimpleTask.save(row, *args, **kwargs)

    monkeypatch.setattr(Job, "save", save, raising=False)
    row = make(Job, using)
    assert code_of(run, row) == 2910010
    row.refresh_from_db()
    assert row.status == Job.DOING


@pytest.mark.parametrize("value", ["no number", 10**30, F("nothing")])
def test_a_failing_handler_ends_its_row_whatever_it_left_in_it(using, handler, caplog, value):
    def told(row, payload):
        row.other, row.note = value, "changed"
        raise ValueError("as told")

    row = make(Job, using, what=handler(told), other=1, note="before")
    with pytest.raises(DjangoSimpleTask2Error, match="2910009.*as told"):
        run(row)
    row = Job.objects.using(using).get(pk=row.pk)
    assert (row.status, row.success, row.auto_reset_time) == (Job.DONE, False, None)
    assert row.done_time is not None
    assert (row.other, row.note) == (1, "before")
    assert f"jobs.job:{row.pk} has failed, and saved no more than that" in caplog.text


def test_a_failing_handler_that_lost_its_claim_ends_nothing(using, handler):
    def told(row, payload):
        row.other = "no number"
        Job.objects.using(using).filter(pk=row.pk).update(status=Job.READY)
        raise ValueError("as told")

    row = make(Job, using, what=handler(told))
    with pytest.raises(DjangoSimpleTask2Error, match="2910009.*as told"):
        run(row)
    row.refresh_from_db()
    assert (row.status, row.success) == (Job.READY, None)


def test_the_lost_claim_is_named():
    assert "reset" in str(ClaimLost(2910014, "the row was reset"))


def test_a_run_knows_what_it_has_refreshed(using, monkeypatch):
    def refresh(row, payload):
        row.other = 7
        Job.objects.using(using).filter(pk=row.pk).update(note="theirs")
        row.refresh_from_db(fields=["note"])
        assert row.note == "theirs"
        row.note = "as created"

    monkeypatch.setattr(handlers, "refresh", refresh, raising=False)
    row = Job.objects.using(using).create(what="refresh", note="as created")
    executor.run(Job, using, row.pk)
    row.refresh_from_db()
    assert (row.note, row.other) == ("as created", 7)


def test_an_expression_is_saved_once(using, monkeypatch):
    from django.db.models import F

    def count(row, payload):
        row.other = F("other") + 1
        row.save()

    monkeypatch.setattr(handlers, "count", count, raising=False)
    row = Job.objects.using(using).create(what="count")
    executor.run(Job, using, row.pk)
    row.refresh_from_db()
    assert row.other == 1


def test_every_kind_of_field_is_loaded_and_written(using, monkeypatch):
    job, other = (Job.objects.using(using).create() for _ in range(2))
    row = EveryJob.objects.using(using).create(other_job=job, **BEFORE)
    seen = []

    def every(row):
        seen.append({name: getattr(row, name) for name in [*BEFORE, "other_job_id"]})
        return {**AFTER, "other_job": other}

    monkeypatch.setattr(handlers, "every", every)
    run(row)
    found = EveryJob.objects.using(using).get()
    now = {name: getattr(found, name) for name in [*BEFORE, "other_job_id"]}
    for values in (seen[0], now):
        values["raw"] = bytes(values["raw"])
    assert seen == [{**BEFORE, "other_job_id": job.pk}]
    assert now == {**AFTER, "other_job_id": other.pk}
    assert (found.status, found.success) == (30, True)


def test_a_workers_log_gets_a_word_and_not_what_a_handler_returned(using, handler):
    row = make(Job, using, what=handler(lambda row, payload: "a secret"))
    answers = []
    for _ in range(2):
        tasks.do_task.push_request(id="one", ignore_result=True, is_eager=False)
        try:
            answers.append(tasks.do_task(**message_of(row)))
        finally:
            tasks.do_task.pop_request()
    assert answers[0] == f"jobs.job:{row.pk}: OK"
    assert answers[1].startswith("2910015: ") and f"jobs.job:{row.pk}" in answers[1]


def test_a_handler_may_save_an_expression(using, handler):
    def told(row, payload):
        row.other = F("other") + 5
        row.save()

    row = make(Job, using, what=handler(told), other=2)
    run(row)
    row.refresh_from_db()
    assert (row.other, row.success) == (7, True)
