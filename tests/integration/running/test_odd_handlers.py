"""What handlers raise, return and leave behind, in one process."""

import asyncio
import signal
import threading
import time
import traceback
from contextvars import ContextVar

import pytest
from celery.exceptions import SoftTimeLimitExceeded, WorkerShutdown
from django.db import OperationalError
from django.db.models.signals import post_init
from django.utils import timezone, translation

from simpletask2_celery import exceptions, signals, tasks
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.rows import claiming, states
from simpletask2_celery.running import executor
from tests.support.fixtures import messages, queued
from tests.support.project.jobs.handlers import ODD
from tests.support.project.jobs.models import ChannelJob, Job, Steps
from tests.support.rows import DOING, DONE, READY


def run(row):
    return executor.run(type(row), row._state.db, row.pk)


def failure_of(row):
    """Run a row that fails; return the cause of its 2910009."""
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        run(row)
    assert caught.value.code == exceptions.HANDLER_FAILED
    row.refresh_from_db()
    assert (row.status, row.success, row.auto_reset_time) == (DONE, False, None)
    return caught.value.__cause__


@pytest.mark.parametrize("name", ODD)
def test_what_a_handler_raises_fails_its_row_once(using, handler, name):
    row = Job.objects.using(using).create(what=handler(lambda row, payload: ODD[name]()))
    error = failure_of(row)
    assert not isinstance(error, DjangoSimpleTask2Error)


def test_an_error_that_cannot_say_its_text_is_named_by_its_class(using, handler):
    row = Job.objects.using(using).create(what=handler(lambda row, payload: ODD["speechless"]()))
    with pytest.raises(DjangoSimpleTask2Error, match=r"message: Speechless\."):
        run(row)


def test_a_claim_that_another_row_has_lost_is_this_handlers_failure(using, handler):
    def told(row, payload):
        raise exceptions.claim_lost("jobs.job:999")

    row = Job.objects.using(using).create(what=handler(told))
    assert isinstance(failure_of(row), exceptions.ClaimLost)


def test_what_ends_the_worker_leaves_the_row_to_whoever_finds_it(using, handler):
    def told(row, payload):
        raise WorkerShutdown(0)

    row = Job.objects.using(using).create(what=handler(told))
    with pytest.raises(WorkerShutdown):
        run(row)
    row.refresh_from_db()
    assert row.status == DOING


def test_ctrl_c_ends_the_process_but_a_workers_handler_may_raise_it(using, handler):
    def told(row, payload):
        raise KeyboardInterrupt

    row = Job.objects.using(using).create(what=handler(told))
    other = Job.objects.using(using).create(what="told")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(row)
        signal.signal(signal.SIGINT, lambda number, frame: None)  # as a worker does
        failure_of(other)
    finally:
        signal.signal(signal.SIGINT, before)


def exits(*args, **kwargs):
    raise SystemExit(1)


def test_a_save_of_the_models_own_that_exits_is_a_2910010(using, monkeypatch):
    row = Job.objects.using(using).create()
    with monkeypatch.context() as patch:
        patch.setattr(Job, "save", exits)
        with pytest.raises(DjangoSimpleTask2Error) as caught:
            run(row)
    assert caught.value.code == exceptions.FINISH_NOT_SAVED
    assert isinstance(caught.value.__cause__, SystemExit)


def test_a_failing_row_whose_own_save_exits_ends_all_the_same(using, monkeypatch):
    row = Job.objects.using(using).create(what="fail")
    with monkeypatch.context() as patch:
        patch.setattr(Job, "save", exits)
        failure_of(row)


@pytest.mark.parametrize("name", ["task_started", "step_finished", "task_finished"])
def test_a_receiver_that_exits_ends_neither_the_run_nor_the_worker(using, name):
    row = Job.objects.using(using).create()
    signal_of = getattr(signals, name)
    signal_of.connect(exits)
    try:
        assert run(row)["task_info"] == row.get_task_info()
    finally:
        signal_of.disconnect(exits)
    row.refresh_from_db()
    assert (row.status, row.success) == (DONE, True)


def yields(row, payload):
    yield row


async def yields_async(row, payload):
    yield row


@pytest.mark.parametrize("generator", [yields, yields_async])
def test_a_handler_with_a_yield_in_it_has_not_run_and_fails(using, handler, generator):
    row = Job.objects.using(using).create(what=handler(generator))
    error = failure_of(row)
    assert isinstance(error, TypeError) and "Job.do_task_main" in str(error)


async def later():
    return 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda: [later()],
        lambda: (1, later()),
        lambda: {"proxy": None, "then": later()},
        lambda: [one for one in (yields(None, None),)],
        lambda: {"async": yields_async(None, None)},
    ],
)
def test_what_nobody_has_run_among_a_handlers_answer_fails(using, handler, answer):
    def returns(row, payload):
        return answer()

    row = Job.objects.using(using).create(what=handler(returns))
    error = failure_of(row)
    assert isinstance(error, TypeError) and "among others, which nobody runs" in str(error)


def test_a_row_that_cannot_be_loaded_ends_with_the_cause(using):
    def refuse(instance, **kwargs):
        raise ValueError("cannot be decrypted")

    row = Job.objects.using(using).create()
    post_init.connect(refuse, sender=Job)
    try:
        with pytest.raises(DjangoSimpleTask2Error, match="cannot be decrypted") as caught:
            run(row)
    finally:
        post_init.disconnect(refuse, sender=Job)
    assert caught.value.code == exceptions.HANDLER_FAILED
    row.refresh_from_db()
    assert (row.status, row.success, row.auto_reset_time) == (DONE, False, None)


@pytest.mark.parametrize("method", ["get_do_task_timeout", "get_task_info", "get_channel_name"])
def test_a_method_of_the_rows_own_that_raises_ends_the_row(using, monkeypatch, method):
    row = ChannelJob.objects.using(using).create()

    def fails(self):
        raise LookupError("as told")

    with monkeypatch.context() as patch:
        patch.setattr(ChannelJob, method, fails)
        with pytest.raises((DjangoSimpleTask2Error, LookupError)):
            run(row)
    row.refresh_from_db()
    assert row.status == DONE and not row.success


def test_a_time_limit_in_the_claim_ends_the_row(using, monkeypatch):
    row = Job.objects.using(using).create()

    def too_late(*args):
        raise SoftTimeLimitExceeded

    monkeypatch.setattr(claiming, "_correct_lease", too_late)
    with pytest.raises(DjangoSimpleTask2Error):
        run(row)
    row.refresh_from_db()
    assert (row.status, row.success) == (DONE, False)


def test_an_async_handler_whose_time_is_over_does_not_go_on(using, handler):
    heard = []

    async def told(row, payload):
        try:
            while True:
                heard.append("on")
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    row = Job.objects.using(using).create(what=handler(told))
    main = threading.get_ident()

    def limit(number, frame):
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGUSR1, limit)
    try:
        threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGUSR1)).start()
        error = failure_of(row)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert isinstance(error, SoftTimeLimitExceeded) and heard[-1] == "cancelled"
    count = len(heard)
    time.sleep(0.1)
    assert len(heard) == count


def test_what_a_run_activates_is_not_the_next_ones(using, handler):
    mine = ContextVar("mine", default="nobody")
    seen = []

    def told(row, payload):
        zone = timezone.get_current_timezone_name()
        seen.append((translation.get_language(), zone, mine.get()))
        translation.activate("de")
        timezone.activate("Asia/Shanghai")
        mine.set("somebody")

    rows = [Job.objects.using(using).create(what=handler(told)) for _ in range(3)]
    name = ("jobs", "job")
    tasks.do_task(*name, rows[0].pk, using)
    tasks.do_task(*name, using=using, ids=[row.pk for row in rows[1:]])
    assert seen == [seen[0]] * 3 and seen[0][0] != "de"
    assert translation.get_language() == seen[0][0]


def test_retries_of_a_projects_base_task_are_not_ours():
    from celery import Celery, Task

    class Retrying(Task):
        autoretry_for = (Exception,)

    app = Celery("other", task_cls=Retrying, set_as_current=False)
    app.conf.task_annotations = {"*": {"autoretry_for": (Exception,)}}
    app.finalize()
    for task in (tasks.do_task, tasks.do_auto_reset):
        assert not hasattr(app.tasks[task.name], "_orig_run")


def test_a_test_may_end_a_run_and_reset_its_row(using, handler):
    from simpletask2_celery.rows.interruptions import Interruption

    def told(row, payload):
        raise Interruption

    row = Job.objects.using(using).create(what=handler(told))
    with pytest.raises(Interruption):
        run(row)
    row.refresh_from_db()
    assert row.status == DOING
    row.reset()
    assert row.status == READY


@pytest.mark.parametrize(("model", "name"), [(Job, "do_task_main"), (Steps, "do_task_main_step1")])
def test_a_failure_shows_the_users_own_method_and_its_frames_first(using, handler, model, name):
    def told(row, payload):
        raise ValueError("as told.")

    row = model.objects.using(using).create(what=handler(told))
    with pytest.raises(DjangoSimpleTask2Error, match=f"calling {name} failed") as caught:
        run(row)
    frames = traceback.extract_tb(caught.value.__cause__.__traceback__)
    assert [frame.name for frame in frames] == [name, "told"]
    row.reset()
    kwargs = {"app_label": "jobs", "model": row._meta.model_name, "id": row.pk, "using": using}
    logged = tasks.do_task.apply(kwargs=kwargs).traceback
    assert logged.index(f"in {name}") < logged.index("celery/app/trace.py")
    assert "executor.py" not in logged and logged.rstrip().endswith("ValueError: as told.")


def test_a_row_that_its_own_handler_resets_cannot_be_published_by_it(using, handler):
    def told(row, payload):
        row.reset().publish(countdown=60)

    row = Job.objects.using(using).create(what=handler(told))
    queued()
    error = failure_of(row)
    assert isinstance(error, RuntimeError) and "receiver of task_finished" in str(error)
    assert queued() == []
    many = handler(lambda row, payload: Job.publish_many([row.reset()]))
    row = Job.objects.using(using).create(what=many)
    assert isinstance(failure_of(row), RuntimeError)


def test_after_its_run_a_row_is_reset_and_published(using, handler):
    def again(sender, row, success, **kwargs):
        if not success:
            row.reset().publish(countdown=60)

    row = Job.objects.using(using).create(what="fail")
    queued()
    signals.task_finished.connect(again)
    try:
        with pytest.raises(DjangoSimpleTask2Error):
            run(row)
    finally:
        signals.task_finished.disconnect(again)
    [(kwargs, message)] = messages()
    row.refresh_from_db()
    assert (kwargs["id"], row.status) == (row.pk, READY) and message.headers["eta"]


@pytest.mark.parametrize("saves", [False, True])
@pytest.mark.parametrize("how", ["stopped", "marked", "deleted", "reset"])
def test_a_run_that_an_operator_has_ended_is_no_error(using, handler, caplog, how, saves):
    def told(row, payload):
        rows = Job.objects.using(using).filter(pk=row.pk)
        now = timezone.now()
        if how == "deleted":
            rows.delete()
        elif how == "reset":  # whether by an operator or because its lease was over, nobody knows
            rows.get().reset()
        else:
            rows.update(**(states.stop(now) if how == "stopped" else states.end(now, True)))
        if saves:
            row.save()

    row = Job.objects.using(using).create(what=handler(told))
    caplog.set_level("INFO")
    kwargs = {"app_label": "jobs", "model": "job", "id": row.pk, "using": using}
    result = tasks.do_task.apply(kwargs=kwargs)
    said = [r for r in caplog.records if r.name == "simpletask2_celery.tasks"]
    code = 2910014 if saves else 2910010
    if how == "reset":
        assert result.state == "FAILURE" and result.result.code == code
        return
    assert result.state == "SUCCESS" and result.result["error"]["code"] == code
    assert [(r.levelname, r.code) for r in said] == [("INFO", code)]
    assert not [r for r in caplog.records if r.levelno > 20]


def test_a_database_that_fails_then_hides_no_lost_claim(using, handler, monkeypatch):
    def told(row, payload):
        Job.objects.using(using).get(pk=row.pk).reset()
        monkeypatch.setattr(claiming.retrying, "persist", fails)

    def fails(*args):
        raise OperationalError("gone")

    row = Job.objects.using(using).create(what=handler(told))
    monkeypatch.setattr(executor.transitions, "finish", lambda row, ended: _lost(row))
    with pytest.raises(exceptions.ClaimLost) as caught:
        run(row)
    assert not isinstance(caught.value, exceptions.RowEnded)


def _lost(row):
    raise exceptions.claim_lost(row.get_task_info())
