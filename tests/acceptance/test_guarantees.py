"""The five guarantees, with processes of their own and databases that really lock."""

import pytest

from tests.support import ALIASES
from tests.support.fixtures import children, queued, wait_until
from tests.support.project.jobs.handlers import mark
from tests.support.project.jobs.models import Job, Ledger


@pytest.fixture(scope="module")
def runners(django_db_setup):
    """Four processes that run the rows they are told."""
    with children() as start:
        processes = [start("run") for _ in range(4)]
        for process in processes:
            assert process.read() == "ready"
        yield processes


def test_of_four_processes_given_the_same_rows_one_runs_each(using, runners):
    Job.objects.using(using).bulk_create([Job(what="write_ledger") for _ in range(40)])
    names = [row.get_task_info() for row in Job.objects.using(using).order_by("pk")]
    for process in runners:
        process.write([using, *names])
    answers = [process.read() for process in runners]
    for name, codes in zip(names, zip(*answers, strict=True), strict=True):
        assert sorted(codes)[0] == 0, name
        assert set(sorted(codes)[1:]) <= {2910013, 2910015}, name
    ran = list(Ledger.objects.using(using).values_list("job", flat=True))
    assert sorted(ran) == sorted(names)
    assert Job.objects.using(using).filter(status=Job.DONE, success=True).count() == 40


@pytest.mark.parametrize("what", ["held", "held_and_saves"])
@pytest.mark.parametrize("change", ["reset and run again", "deleted"])
def test_a_late_process_writes_nothing(using, runners, what, change):
    row = Job.objects.using(using).create(what=what)
    name = row.get_task_info()
    late, newer, *_ = runners
    late.write([using, name])
    wait_until(mark("running", row).exists, what="the late run")
    if change == "deleted":
        Job.objects.using(using).filter(pk=row.pk).delete()
    else:
        row.reset()
        Job.objects.using(using).filter(pk=row.pk).update(what="nothing")
        newer.write([using, name])
        assert newer.read() == [0]
    before = list(Job.objects.using(using).values())
    mark("go-on", row).touch()
    assert late.read() == [2910010 if what == "held" else 2910014]
    assert list(Job.objects.using(using).values()) == before


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.parametrize("scheme", ["redis", "amqp"])
@pytest.mark.parametrize("broker", ["refusing", "silent"])
def test_save_neither_waits_nor_fails_for_a_broker(child, silent, scheme, broker):
    port = silent if broker == "silent" else 1
    url = f"{scheme}://127.0.0.1:{port}//"
    saving = child("save", ",".join(ALIASES), 100, CHILD_BROKER_URL=url)
    for alias in ALIASES:
        answer = saving.read()
        assert answer["first"] <= 1.5, answer
        assert answer["more"] <= 1.5, answer  # the breaker: a hundred saves, not as many s
        saved = Job.objects.using(alias).filter(pk__in=answer["rows"])
        assert saved.count() == 101


def test_a_doubled_and_a_replayed_message_do_nothing(using, runners):
    row = Job.objects.using(using).create(what="write_ledger")
    name = row.get_task_info()
    runners[0].write([using, name, name, name])
    assert runners[0].read() == [0, 2910015, 2910015]
    assert Ledger.objects.using(using).count() == 1
    assert len(queued()) == 1  # its message is there still: the row did not need it
