"""The five guarantees, with processes of their own and databases that really lock."""

import json

import pytest

from tests.fixtures import folder, queued, wait_until
from tests.project.jobs.models import Job, Ledger


def test_of_four_processes_given_the_same_rows_one_runs_each(using, child):
    Job.objects.using(using).bulk_create([Job(what="write_ledger") for _ in range(40)])
    names = [row.get_task_info() for row in Job.objects.using(using).order_by("pk")]
    processes = [child("run", using, *names) for _ in range(4)]
    for process in processes:
        assert process.read() == "ready"
    for process in processes:
        process.go()
    answers = [process.read() for process in processes]
    for name, codes in zip(names, zip(*answers, strict=True), strict=True):
        assert sorted(codes)[0] == 0, name
        assert set(sorted(codes)[1:]) <= {2910013, 2910015}, name
    ran = list(Ledger.objects.using(using).values_list("job", flat=True))
    assert sorted(ran) == sorted(names)
    assert Job.objects.using(using).filter(status=Job.DONE, success=True).count() == 40


@pytest.mark.parametrize("what", ["held", "held_and_saves"])
@pytest.mark.parametrize("change", ["reset and run again", "deleted"])
def test_a_late_process_writes_nothing(using, child, what, change):
    row = Job.objects.using(using).create(what=what)
    name = row.get_task_info()
    late = child("run", using, name)
    late.read()
    late.go()
    mark = folder() / f"running-{name}"
    go_on = folder() / f"go-on-{name}"
    wait_until(mark.exists, what="the late run")
    if change == "deleted":
        row.delete()
    else:
        row.reset()
        Job.objects.using(using).filter(pk=row.pk).update(what="nothing")
        newer = child("run", using, name)
        newer.read()
        newer.go()
        assert newer.read() == [0]
    before = list(Job.objects.using(using).values())
    go_on.touch()
    assert late.read() == [2910010 if what == "held" else 2910014]
    assert list(Job.objects.using(using).values()) == before
    mark.unlink(), go_on.unlink()


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
@pytest.mark.parametrize("broker", ["refusing", "silent"])
def test_save_neither_waits_nor_fails_for_a_broker(using, child, silent, scheme, broker):
    port = silent if broker == "silent" else 1
    url = f"{scheme}://127.0.0.1:{port}//"
    answer = child("save", using, 100, CHILD_BROKER_URL=url).read()
    assert answer["first"] <= 1.5, answer
    assert answer["more"] <= 1.5, answer  # the breaker: a hundred saves, not a hundred s
    assert Job.objects.using(using).filter(pk__in=answer["rows"]).count() == 101


def test_a_doubled_and_a_replayed_message_do_nothing(using, child):
    row = Job.objects.using(using).create(what="write_ledger")
    name = row.get_task_info()
    one = child("run", using, name, name, name)
    one.read()
    one.go()
    assert one.read() == [0, 2910015, 2910015]
    assert Ledger.objects.using(using).count() == 1
    assert json.dumps(queued())  # its message is there still: the row did not need it
