"""What a durable row keeps of an error: bounded, and of any exception that there can be."""

import json

import pytest
from celery.exceptions import Retry

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.rows import memory
from simpletask2_celery.running import executor
from tests.support.project.jobs.models import DurableJob

HUGE = 1_000_000


class Speechless(ValueError):
    """An exception that cannot say its text."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class NotAText(ValueError):
    def __str__(self):
        return 3


def deep(levels):
    if not levels:
        raise ValueError("from the deep")
    deep(levels - 1)


def with_a_huge_traceback():
    """Raise with a cause of a hundred causes, each of them a text of ten thousand letters."""
    error = ValueError("the first")
    for number in range(100):
        try:
            raise ValueError(f"{number} {'x' * 10_000}") from error
        except ValueError as caught:
            error = caught
    raise error


def raising(error):
    def told(row, payload):
        raise error

    return told


def failed(using, told, handler):
    """Run a row whose handler raises a ValueError; return it and the entry of its error."""
    handler(told)
    row = DurableJob.objects.using(using).create(what="told")
    with pytest.raises(Retry):
        executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    [entry] = row.errors
    assert (row.status, row.attempts) == (row.READY, 1)
    assert len(json.dumps(entry)) < 20_000
    return entry


@pytest.mark.parametrize("kind", [Speechless, NotAText])
def test_an_exception_without_a_text_is_kept_by_its_name(using, handler, kind):
    entry = failed(using, raising(kind()), handler)
    assert entry["message"] == kind.__name__
    assert entry["exception_class_path"] == f"{__name__}.{kind.__name__}"
    assert "in told" in entry["traceback"]


def test_a_huge_text_is_cut(using, handler):
    entry = failed(using, raising(ValueError("y" * HUGE)), handler)
    assert entry["message"] == "y" * memory.LONGEST_MESSAGE
    assert entry["traceback"].rstrip() == "y" * (memory.LONGEST_TRACEBACK - 1)


@pytest.mark.parametrize("told", [lambda *_: with_a_huge_traceback(), lambda *_: deep(900)])
def test_of_a_huge_traceback_the_end_is_kept(using, handler, told):
    entry = failed(using, told, handler)
    assert len(entry["traceback"].encode()) <= memory.LONGEST_TRACEBACK
    assert entry["traceback"].endswith(("x\n", "from the deep\n"))


def test_a_class_with_a_huge_name_is_cut(using, handler):
    entry = failed(using, raising(type("E" * HUGE, (ValueError,), {})("short")), handler)
    assert len(entry["exception_class_path"]) == memory.LONGEST_NAME


@pytest.mark.parametrize("text", ["\0", "\ud800", "é\0\udfff", "\\u0000"])
def test_what_a_database_cannot_hold_is_left_out_of_a_text(using, handler, text):
    entry = failed(using, raising(ValueError(f"a{text}b")), handler)
    assert entry["message"].startswith("a") and entry["message"].endswith("b")


def test_a_message_in_many_bytes_is_no_broken_character(using, handler):
    entry = failed(using, raising(ValueError("€" * 5000)), handler)
    assert entry["message"] == "€" * memory.LONGEST_MESSAGE
    assert set(entry["traceback"].rstrip()) == {"€"}


def test_the_errors_of_a_group_are_in_its_traceback(using, handler):
    class Group(ExceptionGroup, ValueError):
        pass

    entry = failed(using, raising(Group("two", [KeyError("a"), OSError("b")])), handler)
    assert "KeyError: 'a'" in entry["traceback"] and "OSError: b" in entry["traceback"]


def test_a_traceback_begins_with_the_frame_of_the_handler_and_has_no_values(using, handler):
    def told(row, payload):
        secret = "s3" + "cret"
        raise ValueError(f"of {len(secret)} letters")

    entry = failed(using, told, handler)
    assert "s3cret" not in json.dumps(entry)
    first = entry["traceback"].splitlines()[1]
    assert "jobs/models.py" in first and "in do_task_main" in first


def test_the_last_ten_errors_are_kept(using, handler):
    handler(lambda row, payload: int(f"x{row.attempts}"))
    row = DurableJob.objects.using(using).create(what="told")
    rows = DurableJob.objects.using(using).filter(pk=row.pk)
    for attempt in range(1, 13):
        rows.update(run_after=None, lost_attempts=attempt)  # or the retries were used up
        with pytest.raises(Retry):
            executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert [one["attempt"] for one in row.errors] == list(range(3, 13))


def test_a_row_whose_errors_are_null_remembers_the_next_one(using, handler):
    handler(lambda row, payload: int("x"))
    row = DurableJob.objects.using(using).create(what="told")
    DurableJob.objects.using(using).filter(pk=row.pk).update(errors=None)
    with pytest.raises(Retry):
        executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert len(row.errors) == 1


def test_without_retries_an_error_is_kept_too(using, handler):
    handler(raising(OSError(5, "disk")))
    row = DurableJob.objects.using(using).create(what="told")
    with pytest.raises(DjangoSimpleTask2Error):
        executor.run(DurableJob, using, row.pk)
    row.refresh_from_db()
    assert (row.success, row.errors[0]["message"]) == (False, "[Errno 5] disk")
