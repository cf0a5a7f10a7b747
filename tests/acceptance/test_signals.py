"""Which process sends a signal, and that nobody sends one for a process that was killed."""

import json

import pytest
from celery import current_app

from tests.support import ALIASES
from tests.support.fixtures import folder, wait_until
from tests.support.project.jobs.models import Job
from tests.support.rows import DONE, done, on_each, overdue

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)
RUN = ["task_started", "step_finished", "task_finished"]


@pytest.fixture
def told():
    """A file that processes write their signals to; called, it returns those of a row."""
    path = folder() / "signals"
    path.write_text("")

    def of(row):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [one for one in lines if one["row"] == [row._state.db, row.get_task_info()]]

    of.environ = {"CHILD_SIGNALS": str(path), "CHILD_INTERVAL": "60"}  # no reset by itself
    yield of
    path.unlink()


def names(lines):
    return [one["name"] for one in lines]


def send_a_reset():
    current_app.send_task("simpletask2_celery.do_auto_reset", expires=60)


def test_a_signal_is_sent_by_the_process_where_its_event_happens(worker, child, told):
    saving = child("save", ",".join(ALIASES), 1, **told.environ)
    process = worker(**told.environ)
    rows = [Job(pk=pk) for alias in ALIASES for pk in saving.read()["rows"]]
    for alias, row in zip([*ALIASES[:1] * 2, *ALIASES[1:] * 2], rows, strict=True):
        row._state.db = alias
    wait_until(lambda: all(len(told(row)) == 4 for row in rows), what=process.log)
    for row in rows:
        lines = told(row)
        assert sorted(names(lines)) == sorted(["task_published", *RUN])
        for one in lines:
            is_of_the_save = one["name"] == "task_published"
            sender = saving.process.pid if is_of_the_save else process.pid
            assert one["process" if is_of_the_save else "parent"] == sender


@pytest.mark.parametrize(
    ("lost_runs", "by_the_reset", "by_the_worker"),
    [
        ("5", ["task_reset", "task_published", *RUN], [*RUN[:1], "task_reset", "task_published"]),
        ("1", ["task_finished"], [*RUN[:1], "task_finished"]),  # which gives rows up
    ],
)
def test_resets_and_lost_runs_are_told_of_by_who_finds_them(
    worker, told, lost_runs, by_the_reset, by_the_worker
):
    late = on_each()
    for row in late:
        overdue(row._state.db, row)
    process = worker(CHILD_MAX_LOST_RUNS=lost_runs, **told.environ)
    send_a_reset()
    wait_until(done(*late), what=process.log)
    count = len(by_the_reset)
    wait_until(lambda: all(len(told(row)) == count for row in late), 10, process.log)
    for row in late:
        lines = told(row)
        assert sorted(names(lines)) == sorted(by_the_reset)
        assert {one["parent"] for one in lines} == {process.pid}  # a child, which ran the task
        assert [one["reason"] for one in lines if one["reason"]] == ["lease_over"][: count - 1]
    lost = on_each(what="die_once")
    wait_until(done(*lost), what=process.log)
    for row in lost:
        lines = told(row)[: len(by_the_worker)]
        assert names(lines) == by_the_worker
        assert lines[0]["parent"] == process.pid
        assert {one["process"] for one in lines[1:]} == {process.pid}
        assert lines[1]["reason"] == ("run_lost" if count > 1 else None)


def test_what_a_killed_process_has_not_told_nobody_tells(worker, told):
    rows = on_each(what="die_untold")
    process = worker(children=1, **told.environ)
    wait_until(done(*rows), what=process.log)
    later = on_each()
    wait_until(done(*later), what=process.log)
    for row in rows:
        Job.objects.using(row._state.db).filter(pk=row.pk).get().publish()  # and is not READY
        current_app.send_task(
            "simpletask2_celery.do_task",
            kwargs={"app_label": "jobs", "model": "job", "id": row.pk, "using": row._state.db},
        )
    send_a_reset()
    last = on_each()
    wait_until(lambda: all(len(told(row)) == 3 for row in [*later, *last]), 30, process.log)
    for row in rows:
        assert names(told(row)) == ["task_started"]
        row.refresh_from_db()
        assert (row.status, row.success) == (DONE, True)
