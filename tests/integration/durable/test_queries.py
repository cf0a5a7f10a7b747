"""What a durable row costs the database: as many statements as a SimpleTask's."""

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext

from simpletask2_celery.conf import conf
from simpletask2_celery.rows import clock
from simpletask2_celery.running import executor
from tests.support.project.jobs.models import AtomicSteps, DurableJob, DurableSteps

CONTROL = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")


def statements_of_a_run(model, using, **fields):
    """Run a row; return the statements that were sent, and those about transactions."""
    row = model.objects.using(using).create(**fields)
    clock.now(using)  # which asks the database once a minute
    with CaptureQueriesContext(connections[using]) as queries:
        executor.run(model, using, row.pk)
    texts = [one["sql"] for one in queries.captured_queries]
    control = [text for text in texts if text.startswith(CONTROL)]
    return [text for text in texts if text not in control], control


def claims(using):
    """Return how many statements a claim takes: one, with UPDATE … RETURNING."""
    return 1 if connections[using].vendor == "postgresql" else 2


@pytest.fixture(autouse=True)
def with_shortcuts():
    if not conf.shortcuts:
        pytest.skip("the plain path locks and loads by statements of their own")


def test_a_step_of_a_durable_row_is_two_statements_three_where_nothing_returns(using):
    sent, control = statements_of_a_run(DurableJob, using)
    assert len(sent) == claims(using) + 1
    assert control == []


def test_each_further_step_is_one_more(using):
    sent, control = statements_of_a_run(DurableSteps, using)
    assert len(sent) == claims(using) + 3
    assert control == []


def test_a_retry_is_one_statement_in_place_of_the_end(using, handler):
    handler(lambda row, payload: row.retry(countdown=60))
    row = DurableJob.objects.using(using).create(what="told")
    clock.now(using)
    with CaptureQueriesContext(connections[using]) as queries:
        with pytest.raises(Exception, match="Retry"):
            executor.run(DurableJob, using, row.pk)
    assert len(queries) == claims(using) + 1


def test_an_atomic_step_adds_its_transaction_and_no_other_statement(using):
    sent, control = statements_of_a_run(AtomicSteps, using)
    assert len(sent) == claims(using) + 3
    assert sum(text.startswith("BEGIN") for text in control) == 3
    assert sum(text.startswith("COMMIT") for text in control) == 3
    # Elsewhere two savepoints a step: around the handler, and around the write of its end.
    savepoints = 0 if connections[using].vendor == "postgresql" else 3 * 2 * 2
    assert len(control) == 6 + savepoints, control
