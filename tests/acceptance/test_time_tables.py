"""Beat makes rows by a time table, and has old ones deleted: real beats and workers."""

import json
import time

import pytest

from simpletask2_celery import tasks
from simpletask2_celery.recovery import schedule
from tests.support import ALIASES
from tests.support.fixtures import is_ready, stop, wait_until
from tests.support.project.jobs.models import DayJob, Job
from tests.support.rows import DONE, ago, old

pytestmark = pytest.mark.django_db(transaction=True, databases=ALIASES)


def every_second(task, **entries):
    """Return the environment of a beat with these entries."""
    table = {
        name: {"task": task, "schedule": 1.0, "kwargs": kwargs} for name, kwargs in entries.items()
    }
    return {"CHILD_SCHEDULE": json.dumps(table), "CHILD_INTERVAL": "60"}


def of_each(key):
    """Return an entry for each database."""
    return {
        alias: {"model": "jobs.dayjob", "fields": {"key": key}, "using": alias} for alias in ALIASES
    }


def keys(using):
    return [*DayJob.objects.using(using).order_by("key").values_list("key", flat=True)]


@pytest.fixture
def beats(celery, tmp_path):
    """Start beats that have a schedule of their own each, as on two machines."""

    def start(number, environment):
        return [
            celery("beat", "-s", str(path), "--max-interval", "1", "-l", "INFO", **environment)
            for path in (tmp_path / str(one) for one in range(number))
        ]

    return start


def sent(process):
    """Return how often a beat has sent what makes rows."""
    return process.log.read_text().count("(simpletask2_celery.create)")


def stop_between_ticks(beat):
    """Stop a beat while it sends nothing: it logs a message before it sends it."""
    count = None
    while count != sent(beat):
        count = sent(beat)
        time.sleep(0.3)  # of the second between two ticks
    stop(beat)


def succeeded(process):
    """Return how many of its messages a worker has worked off."""
    lines = process.log.read_text().splitlines()
    return sum(f"Task {tasks.CREATE}[" in line and " succeeded " in line for line in lines)


def test_two_beats_make_one_row_a_second(worker, beats):
    """Their ticks come at different fractions of a second, with one key in most of them."""
    process = worker(CHILD_INTERVAL="60")
    both = beats(2, every_second(tasks.CREATE, **of_each("{tick:%H:%M:%S}")))
    wait_until(lambda: all(sent(beat) >= 10 for beat in both), 30, process.log)
    for beat in both:
        stop_between_ticks(beat)
    messages = sum(sent(beat) for beat in both)
    wait_until(lambda: succeeded(process) == messages, 30, process.log)
    for alias in ALIASES:
        wait_until(lambda a=alias: not DayJob.objects.using(a).exclude(status=DONE).exists(), 30)
        assert len(keys(alias)) == len({*keys(alias)}) >= 4
        assert DayJob.objects.using(alias).filter(success=True).count() == len(keys(alias))
    rows = sum(len(keys(alias)) for alias in ALIASES)
    assert process.log.read_text().count("nothing was made") == messages - rows > 0
    assert "Traceback" not in process.log.read_text()


def test_a_tick_that_waits_for_its_worker_has_the_key_of_its_own_second(worker, beats):
    [beat] = beats(1, every_second(tasks.CREATE, **of_each("{tick:%H:%M:%S}")))
    wait_until(lambda: sent(beat) >= 6, 30, beat.log)
    stop_between_ticks(beat)
    process = worker(CHILD_INTERVAL="60")
    wait_until(lambda: all(len(keys(alias)) >= 3 for alias in ALIASES), 30, process.log)


def test_a_tick_that_is_sent_twice_makes_one_row(worker):
    tick = {tasks.TICK: "2026-01-31T12:00:00+00:00"}
    for alias in ALIASES:
        kwargs = {"model": "jobs.dayjob", "fields": {"key": "{tick:%d.%m.}"}, "using": alias}
        for _ in range(2):
            tasks.create.apply_async(kwargs=kwargs, headers=tick)
    process = worker(CHILD_INTERVAL="60")
    wait_until(lambda: process.log.read_text().count("nothing was made") == 2, 30, process.log)
    assert [keys(alias) for alias in ALIASES] == [["31.01."]] * 2


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_that_dies_before_or_after_the_commit_costs_no_tick(worker, when):
    for alias in ALIASES:
        key = f"die {when} {alias} {{tick:%Y}}"
        kwargs = {"model": "jobs.dayjob", "fields": {"key": key}, "using": alias}
        tasks.create.apply_async(kwargs=kwargs)
    process = worker(CHILD_INTERVAL="60")
    wait_until(lambda: succeeded(process) == 2, 30, process.log)
    assert [len(keys(alias)) for alias in ALIASES] == [1, 1]
    assert process.log.read_text().count("nothing was made") == (2 if when == "after" else 0)


def test_wrong_entries_are_named_in_the_log_and_do_not_come_again(worker):
    wrong = [
        {"model": "jobs.dayjop", "fields": {}},
        {"model": "jobs.dayjob", "fields": {"status": 30}},
        {"model": "jobs.dayjob", "fields": {"due": "soon"}},
    ]
    for kwargs in wrong:
        tasks.create.apply_async(kwargs=kwargs)
    process = worker(CHILD_INTERVAL="60")
    words = ["Did you mean jobs.dayjob?", "jobs.dayjob.status is written", "due cannot be soon"]
    for text in words:
        wait_until(lambda text=text: text in process.log.read_text(), 30, process.log)
    stop(process)
    assert not any(keys(alias) for alias in ALIASES)
    again = worker(name="again", CHILD_INTERVAL="60")
    wait_until(is_ready(again), 30, again.log)
    time.sleep(1)
    assert tasks.CREATE not in again.log.read_text().partition(" ready.")[2]


def test_beat_has_old_rows_deleted(worker, beats):
    for alias in ALIASES:
        rows = [DayJob(key="old", **old()), DayJob(key="failed", **old(success=False))]
        rows += [DayJob(key="young", **old(done_time=ago(50))), DayJob(key="ready", status=10)]
        DayJob.objects.using(alias).bulk_create(rows)
        Job.objects.using(alias).bulk_create([Job(**old())])
    entry = {schedule.PRUNE_ENTRY: {}}
    environment = {**every_second(schedule.DO_PRUNE, **entry), "TEST_KEEP_DONE": "120"}
    process = worker(**environment)
    beats(1, environment)
    wait_until(lambda: all(len(keys(alias)) == 2 for alias in ALIASES), 30, process.log)
    wait_until(lambda: "'jobs.dayjob': 0" in process.log.read_text(), 30, process.log)
    assert [keys(alias) for alias in ALIASES] == [["ready", "young"]] * 2
    assert [Job.objects.using(alias).count() for alias in ALIASES] == [1, 1]
    assert "jobs.dayjob: old rows deleted: 4." in process.log.read_text()
