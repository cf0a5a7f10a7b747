"""The commands that steer rows: which they take, and that they leave nothing half done."""

import datetime
import io
import sys

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, models
from django.utils import timezone

from simpletask2_celery.management.commands import simpletask2_prune
from simpletask2_celery.publishing import to_celery
from simpletask2_celery.recovery import pruning
from simpletask2_celery.rows import querysets, states
from tests.support.fixtures import queued, wait_until
from tests.support.project.jobs.models import ChildJob, EveryJob, Job, PairJob, UuidJob
from tests.support.rows import done_jobs, ids_of, old, statuses

READY, DOING, DONE = states.READY, states.DOING, states.DONE


def run(name, *words):
    """Return what the command prints."""
    out = io.StringIO()
    call_command(f"simpletask2_{name}", *map(str, words), stdout=out, stderr=io.StringIO())
    return out.getvalue().strip()


def of(using):
    return "--database", using


# -- which rows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, said",
    [
        (["jobs.Jop"], "no model of tasks jobs.jop. Did you mean jobs.job?"),
        (["jobs.Ledger"], "no model of tasks jobs.ledger"),
        ([], "Name a model"),
        (["jobs.Job", "--all-models"], "not both"),
        (["jobs.Job", "--filter", "statu=30"], "no field statu. Did you mean status?"),
        (["jobs.Job", "--filter", "status=x"], "status=x: “x” value must be an integer"),
        (["jobs.Job", "--filter", "status__near=1"], "Unsupported lookup 'near'"),
        (["jobs.EveryJob", "--filter", "other_job__whta=x"], "Did you mean what?"),
        (["jobs.Job", "--filter", "everyjob__odd=1"], "leads to many rows"),
        (["jobs.Job", "--filter", "done_time__lt=soon"], "invalid format"),
        (["jobs.Job", "--filter", "success__isnull=perhaps"], "must be either"),
        (["jobs.Job", "--filter", "status"], "takes field=value"),
        (["jobs.Job", "--ids", "x"], "x cannot be a primary key of jobs.job"),
        (["jobs.UuidJob", "--ids", "12"], "12 cannot be a primary key of jobs.uuidjob"),
        (["jobs.Job", "jobs.Steps", "--ids", "1"], "one model only"),
        (["jobs.Job", "--chunk", "0"], "chunk must be 1 to 1000"),
    ],
)
def test_bad_words_are_named(words, said, using):
    with pytest.raises(CommandError) as caught:
        run("publish", *words, *of(using))
    assert said in str(caught.value)


def test_ids_need_the_database_where_several_hold_the_model(using):
    with pytest.raises(CommandError, match="--database whose ids"):
        run("publish", "jobs.Job", "--ids", 1)


@pytest.mark.parametrize("age", ["", "3", "3w", "2026-13-01", "99999999999d"])
def test_what_is_no_age_is_refused(age, using):
    with pytest.raises(CommandError, match="--older-than takes"):
        run("prune", "jobs.Job", "--older-than", age, *of(using))


@pytest.mark.parametrize(
    "conditions, chosen",
    [
        (["other__in=1,2"], [1, 2]),
        (["other__range=2,4"], [2, 3, 4]),
        (["other__gte=1", "other__lt=3"], [1, 2]),
        (["note__startswith=row 3"], [3]),
        (["success=true"], [0, 1, 2, 3, 4]),
        (["success__isnull=false", "other=4"], [4]),
        (["done_time__year=1999"], []),
        (["done_time__lt=2001-01-31 12:00", "other=2"], []),
    ],
)
def test_filters_are_lookups(conditions, chosen, using):
    rows = [Job(**old(other=number, note=f"row {number}")) for number in range(5)]
    Job.objects.using(using).bulk_create(rows)
    said = run("reset", "jobs.Job", "--filter", *conditions, *of(using))
    assert said == f"{len(chosen)} row{'s were' if len(chosen) != 1 else ' was'} reset."
    ready = Job.objects.using(using).filter(status=READY).order_by("other")
    assert [*ready.values_list("other", flat=True)] == chosen


@pytest.mark.parametrize("name", ["publish", "reset", "prune"])
def test_a_dry_run_shows_and_changes_nothing(name, using):
    status = READY if name == "publish" else DONE
    rows = done_jobs(using, 7, status=status)
    more = {"publish": [], "reset": ["--all"], "prune": ["--older-than", "30d"]}[name]
    said = run(name, "jobs.Job", "--dry-run", *more, *of(using))
    shown = ", ".join(row.get_task_info() for row in rows[:5])
    assert said == f"jobs.job ({using}): 7 rows: {shown}"
    assert statuses(using) == [status] * 7 and queued() == []


def test_all_models_in_all_databases(using):
    Job.objects.bulk_create([Job(status=READY)])
    Job.objects.using("server").bulk_create([Job(status=READY)])
    UuidJob.objects.using(using).bulk_create([UuidJob(status=READY)])
    assert run("publish", "--all-models") == "3 rows were published."
    assert len(queued()) == 3


# -- publish -----------------------------------------------------------------------------


def test_ready_rows_are_published_over_pages(using):
    rows = [Job(status=READY) for _ in range(querysets.PAGE + 2)] + [Job(status=DOING)]
    Job.objects.using(using).bulk_create(rows)
    said = run("publish", "jobs.Job", *of(using))
    assert said == f"{querysets.PAGE + 2} rows were published."
    ready = Job.objects.using(using).filter(status=READY).values_list("pk", flat=True)
    found = []
    wait_until(lambda: found.extend(queued()) or len(found) > querysets.PAGE + 1)
    assert ids_of(found) == sorted(ready)


def test_a_message_carries_a_chunk(using):
    Job.objects.using(using).bulk_create([Job(status=READY) for _ in range(5)])
    assert run("publish", "jobs.Job", "--chunk", 2, *of(using)).startswith("5 rows")
    assert len(queued()) == 3


def test_a_broker_that_fails_is_told(using):
    Job.objects.using(using).bulk_create([Job(status=READY)])
    to_celery.breaker.open()
    with pytest.raises(CommandError, match="0 rows were published. The broker fails"):
        run("publish", "jobs.Job", *of(using))


# -- reset -------------------------------------------------------------------------------


def test_a_reset_of_all_rows_must_be_asked_for(using):
    done_jobs(using, 2)
    with pytest.raises(CommandError, match="--ids or --filter, or give --all"):
        run("reset", "jobs.Job", *of(using))
    assert statuses(using) == [DONE, DONE]
    assert run("reset", "jobs.Job", "--all", *of(using)) == "2 rows were reset."


def test_rows_are_reset_and_published_by_id(using):
    one, two, three = done_jobs(using, 3)
    said = run("reset", "jobs.Job", "--ids", one.pk, three.pk, *of(using))
    assert said == "2 rows were reset."
    assert statuses(using) == [READY, DONE, READY]
    assert ids_of(queued()) == [one.pk, three.pk]
    one.refresh_from_db()
    assert one.success is None and one.done_time is None and one.auto_reset_time


def test_rows_of_a_uuid_and_of_two_keys_are_reset(using):
    row = UuidJob.objects.using(using).create(**old())
    pair = PairJob.objects.using(using).create(tenant=1, number=2, **old())
    assert run("reset", "jobs.UuidJob", "--ids", row.pk, *of(using)).startswith("1 row")
    assert run("reset", "jobs.PairJob", "--ids", "[1, 2]", *of(using)).startswith("1 row")
    for each in (row, pair):
        each.refresh_from_db()
        assert each.status == READY


def test_an_heirs_row_is_its_own_models(using):
    job = Job.objects.using(using).create(**old())
    child = ChildJob.objects.using(using).create(extra="x", **old())
    assert run("reset", "jobs.Job", "--all", *of(using)) == "1 row was reset."
    child.refresh_from_db()
    assert child.status == DONE
    words = ["--filter", "extra=x", "status=30"]
    assert run("reset", "jobs.ChildJob", *words, *of(using)) == "1 row was reset."
    named = [(kwargs["model"], kwargs["id"]) for kwargs in queued()]
    assert named == [("job", job.pk), ("childjob", child.pk)]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("answer, status", [("no", DONE), ("yes", READY)])
def test_a_terminal_is_asked(answer, status, using, monkeypatch, capsys):
    done_jobs(using, 1)
    monkeypatch.setattr(sys, "stdin", Terminal(f"{answer}\n"))
    said = run("reset", "jobs.Job", "--all", *of(using))
    assert "1 row will run again" in capsys.readouterr().out
    assert statuses(using) == [status]
    assert said == ("1 row was reset." if answer == "yes" else "Nothing was changed.")


def test_no_input_asks_nothing(using, monkeypatch):
    done_jobs(using, 1)
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    run("reset", "jobs.Job", "--all", "--no-input", *of(using))
    assert statuses(using) == [READY]


# -- prune -------------------------------------------------------------------------------


def test_old_done_rows_are_deleted_and_no_others(using):
    now = timezone.now()
    done_jobs(using, querysets.PAGE + 2)
    kept = [Job(**old(status=READY)), Job(**old(status=DOING)), Job(**old(done_time=now))]
    Job.objects.using(using).bulk_create(kept)
    said = run("prune", "jobs.Job", "--older-than", "30d", *of(using))
    assert said == f"{querysets.PAGE + 2} rows were deleted."
    assert statuses(using) == [READY, DOING, DONE]


@pytest.mark.parametrize("only, left", [("success", False), ("failed", True)])
def test_only_what_succeeded_or_failed_is_pruned(only, left, using):
    done_jobs(using, 1, success=True), done_jobs(using, 1, success=False)
    run("prune", "jobs.Job", "--older-than", "12h", "--only", only, *of(using))
    assert [row.success for row in Job.objects.using(using).all()] == [left]


def test_a_day_is_an_age(using):
    day = timezone.make_aware(datetime.datetime(2026, 1, 31))
    done_jobs(using, 1, done_time=day - datetime.timedelta(seconds=1))
    [row] = done_jobs(using, 1, done_time=day)
    run("prune", "jobs.Job", "--older-than", "2026-01-31", *of(using))
    assert Job.objects.using(using).get() == row


def test_related_rows_go_as_django_deletes_them(using):
    [job] = done_jobs(using, 1)
    EveryJob.objects.using(using).create(other_job=job)
    child = ChildJob.objects.using(using).create(**old())
    run("prune", "jobs.ChildJob", "--older-than", "45m", *of(using))
    assert not Job.objects.using(using).filter(pk=child.pk).exists()
    run("prune", "jobs.Job", "--older-than", "45m", *of(using))
    assert not Job.objects.using(using).exists()
    assert not EveryJob.objects.using(using).exists()


@pytest.mark.parametrize("on_delete", [models.PROTECT, models.RESTRICT])
def test_protected_rows_are_left(using, monkeypatch, on_delete):
    field = EveryJob._meta.get_field("other_job")
    monkeypatch.setattr(field.remote_field, "on_delete", on_delete)
    rows = done_jobs(using, 3)
    EveryJob.objects.using(using).create(other_job=rows[1])
    said = run("prune", "jobs.Job", "--older-than", "30d", *of(using))
    assert said == "2 rows were deleted. 1 row was left: other rows protect it."
    assert Job.objects.using(using).get() == rows[1]


def test_many_protected_rows_do_not_slow_a_page_down(
    using, monkeypatch, django_assert_max_num_queries
):
    field = EveryJob._meta.get_field("other_job")
    monkeypatch.setattr(field.remote_field, "on_delete", models.PROTECT)
    rows = done_jobs(using, 400)
    jobs = [EveryJob(other_job=row) for row in rows[::2]]
    EveryJob.objects.using(using).bulk_create(jobs)
    with django_assert_max_num_queries(100, connection=connections[using]):
        said = run("prune", "jobs.Job", "--older-than", "30d", *of(using))
    assert said == "200 rows were deleted. 200 rows were left: other rows protect them."
    assert not Job.objects.using(using).filter(everyjob=None).exists()


def test_a_page_of_composite_keys_is_not_too_long_for_sqlite(using):
    rows = [PairJob(tenant=1, number=number, **old()) for number in range(1001)]
    PairJob.objects.using(using).bulk_create(rows)
    said = run("prune", "jobs.PairJob", "--older-than", "30d", *of(using))
    assert said == "1001 rows were deleted."


def test_a_row_that_is_reset_in_between_is_not_pruned(using):
    one, two = done_jobs(using, 2)
    command = simpletask2_prune.Command()
    options = {
        "models": ["jobs.Job"],
        "all_models": False,
        "ids": None,
        "filter": None,
        "database": using,
        "older_than": "30d",
        "only": None,
    }
    [part] = command.parts(options)
    page = [*part.rows.values_list("pk", flat=True)]
    one.reset()
    assert sorted(page) == [one.pk, two.pk]
    assert pruning.delete(part.rows, part.still, page) == 1
    assert Job.objects.using(using).get() == one


# -- Ctrl-C --------------------------------------------------------------------------------
