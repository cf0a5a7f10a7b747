"""Durable rows whose steps an old server drives over the HTTP API."""

import json

import pytest

from tests.support.http_api import KEY, send
from tests.support.project.jobs.models import DurableSteps

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])


def call(name, **fields):
    return send(name, json.dumps({"aclkey": KEY, **fields}))


def test_an_old_server_drives_a_durable_row_from_its_first_step(handler):
    called = []

    def told(row, payload):
        called.append(payload["step"])
        if called == [1, 2]:
            raise ValueError("again")
        return {}

    row = DurableSteps.objects.create(what=handler(told))
    name = row.get_task_info()
    assert call("do_task", task_info=name, step=1)["result"]["next_step"] == 2
    assert call("do_task", task_info=name, step=2)["error"]["code"] == 2910009
    row.refresh_from_db()
    assert (row.status, row.attempts, row.completed_step) == (row.READY, 1, 1)
    for step in (1, 2, 3):
        answer = call("do_task", task_info=name, step=step)["result"]
        assert answer["continue_flag"] is (step < 3)
    row.refresh_from_db()
    assert called == [1, 2, 1, 2, 3] and (row.success, row.completed_step) == (True, 3)


def test_a_row_that_is_not_due_is_refused_over_http(handler):
    row = DurableSteps.objects.create(what=handler(lambda row, payload: {}))
    row.publish(countdown=3600)
    assert call("do_task", task_info=row.get_task_info())["error"]["code"] == 2910016
