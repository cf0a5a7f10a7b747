"""Function tasks, run by real workers from each of the tests' databases."""

import datetime
import time

import pytest

from simpletask2_celery.django_tasks.models import FunctionTask
from tests.support.fixtures import is_ready, wait_until
from tests.support.project.jobs import functions
from tests.support.project.jobs.models import Ledger

PATH = functions.__name__


@pytest.fixture(autouse=True)
def on(using, settings, monkeypatch):
    """Have function tasks kept in SQLite, and then on the database server; here and in workers."""
    monkeypatch.setenv("CHILD_FUNCTIONS_ON", using)
    settings.DATABASE_ROUTERS = [f"tests.support.project.routers.{using}"]
    for path in functions.mark("").parent.glob("function-*"):
        path.unlink()


def finished(result):
    """Return a function that tells whether a result has come."""

    def ask():
        result.refresh()
        return result.is_finished

    return ask


def await_all(results, process, seconds=60):
    for result in results:
        wait_until(finished(result), seconds, process.log)


def test_functions_run(worker):
    process = worker(channels=(None, "mail"))
    first = functions.add.enqueue(1, b=41)
    others = [
        functions.add_later.enqueue(1, b=41),
        functions.tell.enqueue(7, more=8),
        functions.in_mail.enqueue(),
        functions.add.using(priority=50).enqueue(1),
    ]
    failed = [functions.fail.enqueue(), functions.exit_process.enqueue()]
    await_all([first, *others, *failed], process)
    assert [one.return_value for one in (first, others[0])] == [42, 42]
    [name] = first.worker_ids
    assert name.startswith("celery@")
    assert others[1].return_value == [others[1].id, 1, "RUNNING", [name], [7], 8]
    assert (others[2].return_value, others[3].return_value) == ("mailed", 2)
    assert [one.errors[0].exception_class for one in failed] == [ValueError, SystemExit]
    assert process.poll() is None
    log = process.log.read_text()
    for name in ("add", "add_later", "tell", "in_mail", "fail"):
        assert f"Task {PATH}.{name}[" in log
    assert "functiontask[" not in log and "simpletask2_celery.do_task[" not in log


def test_the_task_of_a_killed_child_runs_again_in_two_seconds(worker):
    process = worker()  # no beat, and a lease of 300 s
    wait_until(is_ready(process), what=process.log)
    result = functions.die_once.enqueue()
    await_all([result], process, 30)
    attempt, again = result.return_value
    died = float(functions.mark(f"died-{result.id}").read_text())
    assert attempt == result.attempts == len(result.worker_ids) == 2
    assert died < again < noticed(process) + 2


def noticed(process):
    """Return when the worker has noticed that its child is dead, as its log has it."""
    [line] = [one for one in process.log.read_text().splitlines() if "its process died" in one]
    moment = datetime.datetime.fromisoformat(line[1:20])  # by this process's TZ
    return moment.timestamp() + 1  # the log's seconds are cut


def test_retries_run_in_workers(worker):
    process = worker()
    results = [task.enqueue(2) for task in (functions.try_again, functions.try_again_below)]
    results.append(functions.try_by_options.enqueue(1))
    await_all(results, process)
    assert [one.return_value for one in results] == [3, 3, 2]
    assert [one.attempts for one in results] == [3, 3, 2]
    assert all(len(one.errors) == one.attempts - 1 for one in results)


def test_a_time_limit_ends_a_task(worker, settings):
    settings.DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = True
    process = worker()
    wait_until(is_ready(process), what=process.log)
    result = functions.hang.enqueue()
    wait_until(functions.mark("hangs").exists, what=process.log)
    began = time.monotonic()
    await_all([result], process, 20)
    assert time.monotonic() - began < 5
    assert "SoftTimeLimitExceeded" in result.errors[0].exception_class_path


@pytest.mark.parametrize("is_rolled_back", [False, True])
def test_a_task_enqueues_another(worker, using, is_rolled_back):
    process = worker()
    result = functions.enqueue_another.enqueue(is_rolled_back)
    await_all([result], process)
    inner = FunctionTask.objects.filter(pk=result.return_value)
    if is_rolled_back and using == "default":  # the transaction is one of "default"
        assert not inner.exists()
    else:
        wait_until(inner.filter(success=True).exists, what=process.log)
        assert inner.get().return_value == 42
    assert Ledger.objects.count() == 0
