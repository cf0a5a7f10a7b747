"""Function tasks by their path: in the admin, on the dashboard, in status and metrics."""

import io
import json

import pytest
from django.core.management import call_command
from django.urls import reverse
from prometheus_client import REGISTRY

from simpletask2_celery import metrics, signals
from simpletask2_celery.django_tasks.models import FunctionTask
from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.running import executor
from simpletask2_celery.watching import kinds
from tests.support.metrics import samples, scrape, value
from tests.support.project.jobs import functions

ADD, FAIL = (f"{functions.__name__}.{name}" for name in ("add", "fail"))


@pytest.fixture
def tasks(using):
    """Two functions: one that waits twice and has run once, and one that has failed."""
    results = [functions.add.enqueue(number) for number in range(3)]
    failed = functions.fail.enqueue()
    executor.run(FunctionTask, using, results[0].id)
    with pytest.raises(DjangoSimpleTask2Error):
        executor.run(FunctionTask, using, failed.id)
    return [*results, failed]


def test_the_functions_are_counted(using, tasks):
    add, fail = kinds.read(FunctionTask, using, 4)
    assert (add.name, add.ready, add.done, add.failed) == (ADD, 2, 1, 0)
    assert (fail.name, fail.ready, fail.done, fail.failed) == (FAIL, 0, 1, 1)
    assert add.oldest_ready_seconds >= 0 and fail.oldest_ready_seconds is None
    [only] = kinds.read(FunctionTask, using, 10**7)  # a table whose DONE rows are too many
    assert (only.name, only.ready, only.done) == (ADD, 2, None)


def test_the_dashboard_names_the_functions(tasks, admin_client):
    text = admin_client.get(reverse("admin:simpletask2_dashboard")).content.decode()
    assert f'<th scope="row">{ADD}</th><td>2</td><td>0</td><td>0</td><td>1</td>' in text
    assert f'<th scope="row">{FAIL}</th>' in text


def test_the_status_names_the_functions(using, tasks):
    out = io.StringIO()
    call_command("simpletask2_status", stdout=out)
    [line] = [line.split() for line in out.getvalue().splitlines() if ADD in line]
    assert line[:6] == [ADD, "2", "0", "0", "1", "0"]
    out = io.StringIO()
    call_command("simpletask2_status", "--json", stdout=out)
    tables = json.loads(out.getvalue())["models"]
    names = [kind["name"] for table in tables for kind in table["kinds"]]
    assert names == [ADD, FAIL]


@pytest.fixture
def counting():
    metrics.connect()
    yield
    for signal in vars(signals).values():
        if isinstance(signal, signals.TaskSignal):
            signal.disconnect(metrics._count)


def test_the_metrics_name_the_functions(counting, using):
    def counted(name, path, **labels):
        labels |= {"model": path, "channel": "default"}
        return REGISTRY.get_sample_value(f"simpletask2_{name}_total", labels) or 0

    before = [counted(name, ADD) for name in ("published", "started")]
    result = functions.add.enqueue(1)
    executor.run(FunctionTask, using, result.id)
    assert [counted(name, ADD) for name in ("published", "started")] == [n + 1 for n in before]
    assert counted("finished", ADD, success="true") >= 1
    functions.fail.enqueue()
    page = samples(scrape().content.decode())
    for path, status in [(ADD, "done"), (FAIL, "ready")]:
        assert value(page, "rows", model=path, channel="(all)", status=status) == 1


def test_the_admin_shows_functions_and_lets_nobody_write_them(using, tasks, admin_client):
    listed = reverse("admin:simpletask2_tasks_functiontask_changelist")
    text = admin_client.get(listed).content.decode()
    assert ADD in text and FAIL in text
    assert ADD not in admin_client.get(listed, {"q": "functions.fail"}).content.decode()
    failed = tasks[-1]
    page = reverse("admin:simpletask2_tasks_functiontask_change", args=[failed.id])
    text = admin_client.get(page).content.decode()
    assert FAIL in text
    for name in ("task_path", "args", "kwargs", "priority", "queue_name", "backend"):
        assert f'name="{name}"' not in text
    added = admin_client.get(reverse("admin:simpletask2_tasks_functiontask_add"))
    assert added.status_code == 403
    data = {"task_path": "os.system", "args": '["true"]', "_save": "Save"}
    admin_client.post(page, data)
    assert FunctionTask.objects.get(pk=failed.id).task_path == FAIL


def test_an_operator_runs_a_failed_task_again(using, tasks, admin_client):
    listed = reverse("admin:simpletask2_tasks_functiontask_changelist")
    data = {"action": "reset_selected_tasks", "_selected_action": [tasks[-1].id], "sure": "yes"}
    answer = admin_client.post(listed, data, follow=True)
    assert answer.status_code == 200
    row = FunctionTask.objects.get(pk=tasks[-1].id)
    assert (row.status, row.attempts, row.errors) == (row.READY, 0, [])
