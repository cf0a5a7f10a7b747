"""The state machine against a plain model of it: compatibility facts, sections 3 and 5.

Hypothesis draws what happens, in which order, to a few rows and to the runs that
have claimed them. After each event every column of every row must be what the model
says, and whoever caused the event must have been told what the model says. A run
whose claim is lost stays: whatever it still writes is a late write.
"""

from functools import partial

import pytest
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from simpletask2_celery.rows import claiming, transitions
from tests.proofs.state_machine.durable import DurableMachine
from tests.proofs.state_machine.machine import Machine
from tests.proofs.state_machine.rows import MOST_LOST
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import Job

EXAMPLES = {"default": (90, 40), "server": (45, 40)}  # how many, of how many events


@override_settings(DJANGO_SIMPLETASK2_MAX_LOST_RUNS=MOST_LOST)
@pytest.mark.parametrize("machine", [Machine, DurableMachine])
def test_rows_do_what_the_model_does(using, machine, monkeypatch):
    monkeypatch.setattr(handlers, "told", None, raising=False)
    examples, events = EXAMPLES[using]
    run_state_machine_as_test(
        partial(machine, using),
        settings=settings(
            max_examples=examples,
            stateful_step_count=events,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_run_may_write_what_a_field_held_when_it_was_claimed(using):
    row = Job.objects.using(using).create(note="as created")
    run = claiming.claim(Job, using, row.pk)
    run.note = "half way"
    run.save()
    run.note = "as created"
    transitions.finish(run)
    row.refresh_from_db()
    assert row.note == "as created"
