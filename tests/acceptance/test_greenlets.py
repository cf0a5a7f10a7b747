"""Workers whose threads are greenlets: what one row does in their only thread hurts no other."""

import pytest
from django.db import connections

from tests.support import ALIASES
from tests.support.fixtures import wait_until
from tests.support.project.jobs.handlers import mark
from tests.support.project.jobs.models import AsyncJob, Job, Ledger
from tests.support.rows import DONE, done, on_each

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=ALIASES),
    pytest.mark.parametrize("pool", ["gevent", "eventlet"]),
]


def states(rows):
    return [(row.status, row.success) for row in rows]


def test_an_async_handler_is_refused_with_words(worker, pool):
    awaited, fine = [], []
    for _ in range(4):
        awaited += on_each(AsyncJob)
        fine += on_each(what="slow")
    process = worker("-P", pool, children=6)
    wait_until(done(*awaited, *fine), 30, process.log)
    assert states(fine) == [(DONE, True)] * 8
    assert states(awaited) == [(DONE, False)] * 8
    assert {row.note for row in awaited} == {""}
    log = process.log.read_text()
    assert f"AsyncJob.do_task_main is async, and {pool} has no thread" in log
    assert "never awaited" not in log and "SynchronousOnlyOperation" not in log


def test_a_loop_inside_a_handler_keeps_no_other_row_from_the_database(worker, pool):
    loops = Job.objects.using("server").create(what="three_seconds_in_a_loop")
    process = worker("-P", pool, children=6)
    wait_until(mark("running", loops).exists, 30, process.log)
    fine = [row for _ in range(4) for row in on_each(what="slow")]
    wait_until(done(*fine), 30, process.log)
    second = Job.objects.using("server").create(what="three_seconds_in_a_loop")
    wait_until(done(second), 30, process.log)
    loops.refresh_from_db()
    assert loops.status != DONE  # the others have run beside it
    wait_until(done(loops), 30, process.log)
    assert all(row.success for row in (loops, *fine)) and not second.success
    assert "cannot be called from a running event loop" in process.log.read_text()


def sessions():
    """Return how many sessions the database server has, this test's among them."""
    asked = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()",
        "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database()",
    }
    with connections["server"].cursor() as cursor:
        cursor.execute(asked[connections["server"].vendor])
        return cursor.fetchone()[0]


@pytest.mark.parametrize("options", [{"children": 4}, {"children": 10, "CHILD_POOL": "1"}])
def test_a_worker_has_no_more_sessions_than_rows_that_run(worker, pool, options):
    if "CHILD_POOL" in options and connections["server"].vendor != "postgresql":
        pytest.skip("a pool of psycopg, of four sessions")
    for _ in range(60):
        Job.objects.using("server").create(what="slow")
    process = worker("-P", pool, **options)
    seen = []

    def are_done():
        seen.append(sessions())
        return not Job.objects.using("server").exclude(status=DONE).exists()

    wait_until(are_done, 30, process.log)
    assert all(row.success for row in Job.objects.using("server").all())
    assert max(seen) <= 4 + 3  # the test's, and those of the worker's own threads


def test_a_task_inside_a_handler_closes_none_of_its_sessions(worker, pool):
    rows = on_each(what="a_task_in_a_transaction")
    process = worker("-P", pool)
    wait_until(done(*rows), 30, process.log)
    assert all(row.success for row in rows)
    assert [Ledger.objects.using(alias).count() for alias in ALIASES] == [2, 2]


def test_time_limits_are_gevents_alone(worker, settings, monkeypatch, pool):
    settings.DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = True
    monkeypatch.setattr(Job, "do_task_timeout", 2)
    rows = on_each(what="three_seconds")
    process = worker("-P", pool, TEST_LEASE="2", CHILD_INTERVAL="60")  # and no reset of its own
    wait_until(done(*rows), 30, process.log)
    assert [row.success for row in rows] == [pool == "eventlet"] * 2
