"""Dead processes give their claims back: soon, by proof, and not for ever."""

import datetime
import time

import pytest
from django.db import connections

from tests.support import ALIASES
from tests.support.clock import clock
from tests.support.fixtures import is_ready, kill, wait_until
from tests.support.project.jobs.handlers import mark
from tests.support.project.jobs.models import Job, Ledger, Steps
from tests.support.rows import done, on_each

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


def runs():
    """Return how often a handler has run, in each database."""
    return [Ledger.objects.using(alias).count() for alias in ALIASES]


def test_the_row_of_a_killed_child_runs_again_in_seconds(worker):
    rows = on_each(what="die_once")
    process = worker()  # no beat, and a lease of 300 s
    for row in rows:
        wait_until(mark("died", row).exists, what=process.log)
    began = clock()
    wait_until(done(*rows), 20, process.log)
    assert clock() - began < 6
    assert all(row.success for row in rows) and runs() == [1, 1]
    log = process.log.read_text()
    for row in rows:
        assert log.count(f"{row.get_task_info()}: its process died; READY again.") == 1


def test_a_killed_worker_gives_its_rows_back_when_it_starts_again(worker):
    rows = on_each(what="held")
    process = worker(name="again")
    other = worker(name="other", channels=["mail"])  # by its name it has no proof
    for row in rows:
        wait_until(mark("running", row).exists, what=process.log)
    wait_until(is_ready(other), what=other.log)
    kill(process)
    for row in rows:
        mark("go-on", row).touch()
    time.sleep(1.5)
    assert not any_done(rows)
    again = worker(name="again")
    wait_until(done(*rows), 20, again.log)
    assert all(row.success for row in rows)


def test_a_row_that_takes_a_solo_worker_down_waits_until_it_starts_again(worker):
    row = Job.objects.using("server").create(what="die_once")
    process = worker("-P", "solo", name="again")
    wait_until(lambda: process.poll() is not None, 30, process.log)
    other = worker(name="other", channels=["mail"])
    wait_until(is_ready(other), what=other.log)
    time.sleep(1.5)
    row.refresh_from_db()
    assert row.status == row.DOING
    again = worker("-P", "solo", name="again")
    wait_until(done(row), 20, again.log)
    assert row.success and runs() == [0, 1]


def any_done(rows):
    """Tell whether one of the rows is no longer DOING."""
    for row in rows:
        row.refresh_from_db()
    return any(row.status != row.DOING for row in rows)


def test_a_poison_row_is_given_up(worker):
    rows = on_each(what="die")
    process = worker(name="poisoned", CHILD_MAX_LOST_RUNS="3")
    wait_until(done(*rows), 60, process.log)
    for row in rows:
        assert row.success is False and row.done_time and row.auto_reset_time is None
    assert runs() == [3, 3]

    def given_up():
        return [line for line in process.log.read_text().splitlines() if "given up" in line]

    wait_until(lambda: len(given_up()) == len(rows), 10, process.log)
    for line in given_up():
        assert "ERROR" in line and "2910009" in line and "3 runs of it in a row" in line
    others = on_each(what="write_ledger")
    wait_until(done(*others), 20, process.log)


def times(log, *words):
    """Return when the lines were logged that hold all of these words, in seconds."""
    return [
        datetime.datetime.fromisoformat(line[1:24].replace(",", ".")).timestamp()
        for line in log.read_text().splitlines()
        if all(word in line for word in words)
    ]


def test_claims_are_released_within_a_second(worker):
    """Of the death itself, which the parent notices later."""
    rows = [row for _ in range(3) for row in on_each(what="die_once")]
    process = worker(name="prompt")
    waited = []
    for row in rows:
        wait_until(done(row), 30, process.log)
        [released] = times(process.log, f"{row.get_task_info()}: its process died")
        waited.append(released - mark("died", row).stat().st_mtime)
    waited.sort()
    assert waited[-2] < 1 and waited[-1] < 5, waited  # one that a busy machine has kept


@pytest.mark.parametrize("reuse", ["", "100000"])
def test_many_slow_requests_share_the_few_connections_of_a_pool(worker, slow_site, reuse):
    if connections["server"].vendor != "postgresql":
        pytest.skip("a pool of psycopg")
    objects = Steps.objects.using("server")
    objects.bulk_create([Steps(what="proxied", url=slow_site) for _ in range(40)])
    Steps.publish_many(objects.all())
    limits = {"CHILD_POOL": "1", "CHILD_REUSE": reuse}
    process = worker("-P", "threads", name="threads", children=40, **limits)
    wait_until(lambda: not objects.exclude(status=30).exists(), 30, process.log)
    assert objects.filter(success=True, note__contains="2|200").count() == 40
    times = [row.done_time - row.start_time for row in objects.all()]
    assert sum(t.total_seconds() for t in times) / 40 < 5


def test_a_killed_child_of_a_worker_whose_database_has_a_pool(worker):
    if connections["server"].vendor != "postgresql":
        pytest.skip("a pool of psycopg")
    rows = [Job.objects.using("server").create(what="die_once") for _ in range(3)]
    rows += [Job.objects.using("server").create(what="slow") for _ in range(30)]
    process = worker(name="pooled", CHILD_POOL="1")
    wait_until(done(*rows), 30, process.log)
    assert all(row.success for row in rows)
    assert runs() == [0, len(rows)]


def test_a_heartbeat_keeps_a_short_lease_alive(worker, beat):
    rows = on_each(what="three_seconds")
    process = worker(name="beating", CHILD_HEARTBEAT="0.3", TEST_LEASE="1")
    beat()
    wait_until(done(*rows), 30, process.log)
    assert all(row.success for row in rows) and runs() == [1, 1]
    assert "simpletask2_celery.do_auto_reset" in process.log.read_text()


def a_line_has(log, words):
    """Tell whether a line of the log has these words, or this one."""
    words = [words] if isinstance(words, str) else words
    lines = log.read_text().splitlines()
    return any(all(word in line for word in words) for line in lines)


def test_a_time_limit_of_the_whole_worker_fails_a_row_too(worker):
    rows = on_each(what="hang")
    process = worker("--time-limit", "2", children=2, CHILD_INTERVAL="60")
    wait_until(done(*rows), 30, process.log)
    assert not any(row.success for row in rows)
    for row in rows:
        wait_until(lambda row=row: a_line_has(process.log, (row.get_task_info(), "2910009")), 5)


@pytest.mark.parametrize(
    ("pool", "errors"),
    [
        ("prefork", {"three_seconds": "SoftTimeLimitExceeded", "hang": "its time limit"}),
        ("gevent", {"three_seconds": "Timeout"}),
    ],
)
def test_a_run_over_its_time_fails(worker, settings, monkeypatch, pool, errors):
    settings.DJANGO_SIMPLETASK2_ENFORCE_TIMEOUT = True
    monkeypatch.setattr(Job, "do_task_timeout", 2)
    rows = [row for what in errors for row in on_each(what=what)]
    children = len(rows)
    limits = {"TEST_LEASE": "2", "CHILD_INTERVAL": "60"}  # and no reset of its own
    process = worker("-P", pool, name="limited", children=children, **limits)
    wait_until(done(*rows), 30, process.log)
    assert not any(row.success for row in rows)
    assert runs() == [len(errors)] * 2
    for words in [*errors.values(), *((row.get_task_info(), "2910009") for row in rows)]:
        wait_until(lambda words=words: a_line_has(process.log, words), 5, process.log)
