"""The index that keeps auto-reset fast: partial where the database can, and used."""

import datetime

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from simpletask2_celery.rows import querysets, resetting, states
from simpletask2_celery.watching import counts
from tests.support.project.jobs.models import Job


@pytest.fixture
def indexed(using):
    """Give the table the index, for one test."""
    index = Job.auto_reset_index("jobs_job")
    with connections[using].schema_editor() as editor:
        editor.add_index(Job, index)
    yield index.name
    with connections[using].schema_editor() as editor:
        editor.remove_index(Job, index)


def plans(using):
    """Return how the database looks for stale rows, and for the oldest READY one."""
    objects = Job.objects.using(using)
    objects.bulk_create(
        [Job(status=30, success=True) for _ in range(3000)] + [Job(), Job(status=20)]
    )
    # Rows that other tests have deleted would make PostgreSQL think the table much longer.
    statements = {"postgresql": "VACUUM ANALYZE", "sqlite": "ANALYZE", "mysql": "SELECT 1"}
    with connections[using].cursor() as cursor:
        cursor.execute(statements[connections[using].vendor])
        cursor.fetchall() if cursor.description else None
    stale = objects.filter(states.due(timezone.now())).order_by("pk")[: querysets.PAGE]
    return stale.explain(), objects.filter(status=states.READY).explain()


def test_the_database_uses_it(using, indexed):
    if connections[using].vendor == "mysql":
        pytest.skip("its plan is a table of numbers")
    stale, ready = plans(using)
    assert indexed in ready, ready
    # SQLite reads the table in the order of its keys instead, which it has to return.
    assert indexed in stale or connections[using].vendor == "sqlite", stale
    assert Job.do_auto_reset() is not None
    assert counts.total(counts.not_done(Job, using)).stale == 0


def test_without_it_the_database_reads_the_table(using):
    """Or the test above could not fail."""
    if connections[using].vendor == "mysql":
        pytest.skip("its plan is a table of numbers")
    for plan in plans(using):
        assert "jobs_job_reset" not in plan


def test_a_reset_updates_its_page_and_reads_no_table(using):
    """A join with a subquery that locks read 20,000 rows for each 1,000."""
    connection = connections[using]
    if connection.vendor != "postgresql":
        pytest.skip("only its plan can be asked for so")
    over = timezone.now() - datetime.timedelta(hours=1)
    Job.objects.using(using).bulk_create(
        Job(status=20, start_time=over, auto_reset_time=over) for _ in range(20_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    with CaptureQueriesContext(connection) as captured:
        pages = resetting.reset_due(Job, using, list)
        assert next(pages)[0] == querysets.PAGE
    [update] = [q["sql"] for q in captured if q["sql"].startswith("UPDATE")]
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + update)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan and "Index" in plan, plan


def test_it_is_partial_on_postgresql(using, indexed):
    connection = connections[using]
    if connection.vendor != "postgresql":
        pytest.skip("elsewhere it is of all rows")
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE indexname = %s", [indexed])
        [(definition,)] = cursor.fetchall()
    assert "WHERE" in definition and "30" in definition
