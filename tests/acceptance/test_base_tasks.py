"""Real workers of an app whose base class of tasks would retry, acknowledge and pickle."""

import os

import pytest

from tests.support import ALIASES
from tests.support.fixtures import redis, wait_until
from tests.support.project.jobs.models import Job, Ledger
from tests.support.rows import done

ROWS = "simpletask2_celery.do_task"
BASE = "tests.support.project.base_task:Base"


@pytest.fixture
def based(worker, tmp_path):
    """A worker of such an app; what the hooks of its base class have heard."""
    environment = {
        "CHILD_TASK_CLS": BASE,
        "CHILD_HOOKS": str(tmp_path / "hooks"),
        "CHILD_RESULT_BACKEND": os.environ["TEST_REDIS_URL"],
    }
    return worker(children=1, **environment), tmp_path / "hooks"


def results():
    return {*redis().scan_iter("celery-task-meta-*")}


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_a_base_class_is_heard_and_decides_nothing(based):
    process, hooks = based
    before = results()
    fine, failing, deadly = (
        Job.objects.using("server").create(what=what)
        for what in ("write_ledger", "fail", "die_once")
    )
    wait_until(done(fine, failing, deadly), 60, process.log)
    for row in (fine, failing, deadly):
        row.refresh_from_db()
    assert [row.success for row in (fine, failing, deadly)] == [True, False, True]
    wait_until(lambda: hooks.read_text().count("after_return") >= 3, 20, process.log)
    heard = hooks.read_text().splitlines()
    of_rows = [line.removeprefix(f"{ROWS} ") for line in heard if line.startswith(ROWS)]
    assert of_rows.count("on_failure 2910009") == of_rows.count("after_return FAILURE") == 1
    # The second message of the row that has killed its process is auto-reset's, not a retry.
    assert of_rows.count("call") == of_rows.count("before_start") == 4
    log = process.log.read_text()
    assert "Retry in" not in log and "retry: " not in log
    assert Ledger.objects.using("server").filter(job=fine.get_task_info()).count() == 1
    assert results() == before
