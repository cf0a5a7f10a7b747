"""Steps that resume: after a retry, a lost run, with a proxy request that is pending."""

import base64

import pytest
from celery.exceptions import Retry
from django.utils import timezone

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.rows import transitions
from simpletask2_celery.running import executor
from simpletask2_celery.running.proxy import fetching
from tests.support.project.jobs.models import AtomicSteps, DurableSteps

pytestmark = pytest.mark.usefixtures("no_kept_connections")
MODELS = pytest.mark.parametrize("model", [DurableSteps, AtomicSteps])


class Killed(BaseException):
    """Ends a run as the death of its process does: nothing more of it is written."""


@pytest.fixture
def dying(monkeypatch):
    """Let a handler end its run by raising Killed."""
    from simpletask2_celery.rows import interruptions

    before = interruptions.is_interruption
    monkeypatch.setattr(
        interruptions, "is_interruption", lambda error: isinstance(error, Killed) or before(error)
    )


def make(model, using, **fields):
    return model.objects.using(using).create(what="told", **fields)


def run(row):
    try:
        return executor.run(type(row), row._state.db, row.pk)
    finally:
        row.refresh_from_db()


def lose(row):
    """Make a row whose run was lost READY, as auto-reset does."""
    now = timezone.now()
    type(row).objects.using(row._state.db).filter(pk=row.pk).update(auto_reset_time=now)
    type(row).do_auto_reset()
    row.refresh_from_db()
    assert row.status == row.READY


@MODELS
def test_a_row_whose_process_died_goes_on_after_its_last_completed_step(
    using, handler, dying, model
):
    called = []

    def told(row, payload):
        called.append(payload["step"])
        row.note += str(payload["step"])
        if called == [1, 2]:
            raise Killed

    handler(told)
    row = make(model, using)
    with pytest.raises(Killed):
        run(row)
    assert (row.status, row.note, row.completed_step) == (row.DOING, "1", 1)
    lose(row)
    assert (row.lost_attempts, row.completed_step, row.errors) == (1, 1, [])
    run(row)
    assert (called, row.note, row.attempts) == ([1, 2, 2, 3], "123", 2)


@MODELS
def test_a_run_that_is_released_goes_on_after_its_last_completed_step(using, handler, dying, model):
    called = []

    def told(row, payload):
        called.append(payload["step"])
        if called == [1, 2]:
            raise Killed

    handler(told)
    row = make(model, using)
    with pytest.raises(Killed):
        run(row)
    assert transitions.release(row)
    row.refresh_from_db()
    assert (row.status, row.lost_attempts) == (row.READY, 1)
    run(row)
    assert called == [1, 2, 2, 3] and row.success


def test_without_resume_a_lost_run_begins_at_the_first_step(using, handler, dying, monkeypatch):
    monkeypatch.setattr(DurableSteps, "resume", False)
    called = []

    def told(row, payload):
        called.append(payload["step"])
        if called == [1, 2]:
            raise Killed

    handler(told)
    row = make(DurableSteps, using)
    with pytest.raises(Killed):
        run(row)
    lose(row)
    run(row)
    assert called == [1, 2, 1, 2, 3] and row.success


def asking(called, request, fails):
    """Return a handler whose first step asks for a request, and whose second fails at first."""

    def told(row, payload):
        called.append(payload["step"])
        if payload["step"] == 1:
            return {"proxy": request}
        if payload["step"] == 2:
            row.note = base64.b64decode(payload["proxied_content"] or b"").decode()
            if called.count(2) <= fails:
                raise ValueError("again")
        assert payload["proxied_content"] is None or payload["step"] == 2

    return told


@MODELS
def test_a_pending_request_is_made_again(using, handler, model, site):
    url = f"http://127.0.0.1:{site.server_port}/page"
    called = []
    handler(asking(called, {"method": "POST", "url": url, "data": "x"}, fails=2))
    row = make(model, using)
    for _ in range(2):
        with pytest.raises(Retry):
            run(row)
        assert (row.completed_step, row.pending_request["url"]) == (1, url)
    run(row)
    assert called == [1, 2, 2, 2, 3] and len(site.seen) == 3
    assert (row.note, row.success, row.pending_request) == ("hello", True, None)


@MODELS
def test_a_process_that_died_in_a_request_makes_it_again(
    using, handler, dying, model, site, monkeypatch
):
    called, fetch = [], fetching.fetch
    handler(asking(called, {"method": "GET", "url": f"http://127.0.0.1:{site.server_port}/"}, 0))

    def die(*args):
        monkeypatch.setattr(fetching, "fetch", fetch)
        raise Killed

    monkeypatch.setattr(fetching, "fetch", die)
    row = make(model, using)
    with pytest.raises(Killed):
        run(row)
    assert (row.status, row.completed_step) == (row.DOING, 1)
    lose(row)
    run(row)
    assert (called, row.note, len(site.seen)) == ([1, 2, 3], "hello", 1)


#: What requests takes and a column of JSON cannot hold.
UNHELD = {"bytes": b"x", "a NUL": "\0", "an iterator": iter("x"), "a surrogate": {"a": "\udcff"}}
UNHELD["more than a MiB"] = "x" * (1 << 20)


@MODELS
@pytest.mark.parametrize("data", UNHELD.values(), ids=UNHELD)
def test_the_step_whose_request_json_cannot_hold_runs_again(using, handler, model, site, data):
    url = f"http://127.0.0.1:{site.server_port}/"
    called = []
    handler(asking(called, {"method": "POST", "url": url, "data": data}, fails=1))
    row = make(model, using)
    with pytest.raises(Retry):
        run(row)
    assert (row.completed_step, row.pending_request) == (0, None)
    run(row)
    assert (called, row.success) == ([1, 2, 1, 2, 3], True)


@MODELS
def test_tuples_of_a_pending_request_are_tuples_again(using, handler, model, site):
    """JSON has lists alone; requests wants pairs of tuples."""
    url = f"http://127.0.0.1:{site.server_port}/"
    request = {"method": "GET", "url": url, "auth": ("user", "word"), "timeout": (5, 10)}
    handler(asking([], request, fails=1))
    row = make(model, using)
    with pytest.raises(Retry):
        run(row)
    run(row)
    assert (row.note, row.success) == ("hello", True)
    [first, again] = [headers["Authorization"] for _, headers in site.seen]
    assert first == again


@MODELS
def test_a_request_that_fails_is_no_failure_of_the_row(using, handler, model):
    seen = []

    def told(row, payload):
        seen.append(payload.get("proxied_error"))
        if payload["step"] == 1:
            return {"proxy": {"method": "GET", "url": "http://127.0.0.1:1/"}}
        if payload["step"] == 2 and len(seen) == 2:
            raise ValueError("again")

    handler(told)
    row = make(model, using)
    with pytest.raises(Retry):
        run(row)
    run(row)
    assert row.success and seen[1] and seen[2] and seen[3] is None


@MODELS
def test_a_reset_forgets_a_pending_request(using, handler, model, site):
    called = []
    request = {"method": "GET", "url": f"http://127.0.0.1:{site.server_port}/"}
    handler(asking(called, request, fails=1))
    row = make(model, using)
    with pytest.raises(Retry):
        run(row)
    row.reset()
    row.refresh_from_db()
    assert (row.completed_step, row.pending_request) == (0, None)
    run(row)
    assert called == [1, 2, 1, 2, 3]


def test_the_steps_by_hand_begin_at_the_first(using, handler):
    handler(lambda row, payload: {"n": payload["step"]})
    row = make(DurableSteps, using)
    DurableSteps.objects.using(using).filter(pk=row.pk).update(completed_step=2)
    for step in (1, 2, 3):
        assert row.do_task({"step": step})["data"] == {"n": step}
    row.refresh_from_db()
    assert (row.success, row.completed_step, row.return_value) == (True, 3, {"n": 3})


def test_a_retry_of_steps_by_hand_is_told_as_a_failure(using, handler):
    handler(lambda row, payload: int("x"))
    row = make(DurableSteps, using)
    with pytest.raises(DjangoSimpleTask2Error) as caught:
        row.do_task()
    row.refresh_from_db()
    assert caught.value.code == 2910009 and (row.status, row.attempts) == (row.READY, 1)


def test_return_values_are_of_the_last_step(using, handler):
    handler(lambda row, payload: payload["step"])
    row = make(DurableSteps, using)
    run(row)
    assert row.return_value == 3
