"""What a save writes of a row's state: nothing that its caller has not changed."""

import copy
import pickle

import pytest
from django.db import transaction
from django.db.models.signals import post_save
from django.template import Context, Template
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from simpletask2_celery import signals
from simpletask2_celery.exceptions import ClaimLost, DjangoSimpleTask2Error
from simpletask2_celery.running import executor
from tests.support.fixtures import queued
from tests.support.project.jobs.models import ChildJob, EveryJob, Job, PairJob
from tests.support.rows import DOING, DONE, READY


@pytest.fixture(params=[Job, ChildJob])
def model(request):
    return request.param


def make(model, using, **fields):
    return model.objects.using(using).create(**fields)


def run(row):
    return executor.run(type(row), row._state.db, row.pk)


def state_of(row):
    row = type(row).objects.using(row._state.db).get(pk=row.pk)
    return row.status, row.success


# -- outside of runs ---------------------------------------------------------------------

KEPT = {
    "created": lambda row: row,
    "loaded": lambda row: type(row).objects.using(row._state.db).get(pk=row.pk),
    "copied": lambda row: copy.copy(row),
    "deep-copied": lambda row: copy.deepcopy(row),
    "pickled": lambda row: pickle.loads(pickle.dumps(row)),
    "of some fields": lambda row: (
        type(row).objects.using(row._state.db).only("note").get(pk=row.pk)
    ),
}


@pytest.mark.parametrize("kept", KEPT)
def test_an_object_older_than_its_rows_run_does_not_undo_it(using, model, kept):
    row = make(model, using)
    old = KEPT[kept](row)
    run(row)
    old.note = "web"
    old.save()
    assert state_of(row) == (DONE, True)
    row.refresh_from_db()
    assert row.note == "web"


def test_an_object_loaded_in_mid_run_does_not_take_the_claim(using, model, handler):
    def told(row, payload):
        other = model.objects.using(using).get(pk=row.pk)
        other.other = 7
        other.save()

    row = make(model, using, what=handler(told))
    created = row
    created.save()
    run(row)
    row.refresh_from_db()
    assert (row.status, row.success, row.other) == (DONE, True, 7)


def test_what_the_caller_has_changed_of_the_state_is_written(using, model):
    row = make(model, using)
    row.status, row.success = DONE, False
    row.save()
    assert state_of(row) == (DONE, False)
    row.status = READY
    row.save(update_fields=["status"])
    assert state_of(row) == (READY, False)


def test_an_object_that_was_refreshed_knows_what_it_has_seen(using, model):
    row = make(model, using)
    old = model.objects.using(using).get(pk=row.pk)
    run(row)
    old.refresh_from_db()
    old.status = READY  # on purpose
    old.save()
    assert state_of(row)[0] == READY
    run(row)
    old.refresh_from_db(fields=["note"])
    old.save()
    assert state_of(row) == (DONE, True)


def test_a_state_whose_save_was_rolled_back_is_written_by_the_next_one(using, model):
    row = make(model, using)
    with pytest.raises(ZeroDivisionError), transaction.atomic(using):
        row.status = DONE
        row.save()
        raise ZeroDivisionError
    row.save()
    assert state_of(row)[0] == DONE


def test_an_object_made_with_the_key_of_a_row_leaves_its_state_alone(using):
    row = make(Job, using)
    run(row)
    queued()
    Job(pk=row.pk, note="again", add_time=row.add_time).save(using=using)
    assert state_of(row) == (DONE, True)
    assert queued() == []  # Django has updated it: nothing is new


def test_a_deferred_state_is_neither_asked_nor_written(using):
    row = make(Job, using)
    part = Job.objects.using(using).only("note").get(pk=row.pk)
    run(row)
    from django.db import connections

    with CaptureQueriesContext(connections[using]) as queries:
        part.save()
    assert len(queries) == 1 and "status" not in queries[0]["sql"]


@pytest.mark.parametrize("how", ["start", "done", "reset"])
def test_a_transition_writes_the_state_and_nothing_else(using, model, how):
    row = make(model, using)
    if how != "start":
        model.objects.using(using).filter(pk=row.pk).update(status=DOING)
    old = model.objects.using(using).get(pk=row.pk)
    model.objects.using(using).filter(pk=row.pk).update(note="by the handler")
    getattr(old, how)()
    row.refresh_from_db()
    assert row.note == "by the handler"
    assert row.status == {"start": DOING, "done": DONE, "reset": READY}[how]


@pytest.mark.parametrize("how", ["start", "done", "reset"])
def test_a_transition_is_a_save_for_receivers(using, model, how):
    heard = []

    def hear(update_fields, **kwargs):
        heard.append(set(update_fields))

    row = make(model, using)
    model.objects.using(using).filter(pk=row.pk).update(status=DOING)
    row.refresh_from_db()
    post_save.connect(hear, sender=model)
    getattr(row, how)(**({} if how == "reset" else {"force": True}))
    post_save.disconnect(hear, sender=model)
    assert "status" in heard[0] and "note" not in heard[0]


def test_a_reset_of_an_object_that_is_older_than_a_claim_resets(using, model):
    row = make(model, using)
    old = model.objects.using(using).get(pk=row.pk)
    run(row)
    old.reset()
    assert state_of(row) == (READY, None)


@pytest.mark.parametrize("how", ["start", "done", "reset"])
def test_a_transition_that_is_to_be_saved_later_is_written_then(using, model, how):
    row = make(model, using)
    old = model.objects.using(using).get(pk=row.pk)
    run(row)
    getattr(old, how)(save=False, **({} if how == "reset" else {"force": True}))
    assert state_of(row) == (DONE, True)
    old.save()
    assert state_of(row)[0] == {"start": DOING, "done": DONE, "reset": READY}[how]


def test_a_reset_of_a_row_that_is_gone_says_so(using, model):
    row = make(model, using)
    model.objects.using(using).all().delete()
    with pytest.raises(DjangoSimpleTask2Error, match="2910004"):
        row.reset()
    assert not model.objects.using(using).exists()


# -- copies and inserts ------------------------------------------------------------------


def copied_by_key(row):
    row.pk = None
    return row


def copied_as_documented(row):
    row.pk, row._state.adding = None, True
    return row


def copied_by_copy(row):
    other = copy.copy(row)
    other.pk, other._state.adding = None, True
    return other


COPIES = [copied_by_key, copied_as_documented, copied_by_copy]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_of_a_row_that_is_done_begins_as_a_new_row(using, copied):
    row = make(Job, using)
    run(row)
    queued()
    first = Job.objects.using(using).get(pk=row.pk)
    other = copied(first)
    other.save()
    assert other.pk != row.pk
    assert state_of(other) == (READY, None) and state_of(row) == (DONE, True)
    assert [kwargs["id"] for kwargs in queued()] == [other.pk]
    assert other.auto_reset_time > timezone.now() and other.start_time is None


@pytest.mark.parametrize("copied", COPIES)
def test_a_handler_may_copy_its_own_row(using, handler, copied):
    def told(row, payload):
        if row.note == "copy":
            return
        other = copied(row)
        other.note = "copy"
        other.save()

    row = make(Job, using, what=handler(told))
    heard = []

    def hear(row, pk, **kwargs):
        heard.append((row.pk, pk))

    signals.task_finished.connect(hear)
    try:
        answer = run(row)
    finally:
        signals.task_finished.disconnect(hear)
    assert state_of(row) == (DONE, True)
    [other] = Job.objects.using(using).exclude(pk=row.pk)
    assert (other.note, other.status, other.start_time) == ("copy", READY, None)
    assert heard == [(row.pk, row.pk)]
    assert answer["task_info"] == row.get_task_info()


def test_what_django_inserts_is_published_and_nothing_else(using):
    Job(note="nothing").save(using=using, update_fields=[])
    assert queued() == [] and not Job.objects.using(using).exists()
    row = make(Job, using)
    queued()
    Job.objects.using(using).all().delete()
    row.save()  # Django inserts it again
    assert [kwargs["id"] for kwargs in queued()] == [row.pk]
    row.save(update_fields=["note"])
    assert queued() == []


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
@pytest.mark.parametrize(("using", "other"), [("default", "server"), ("server", "default")])
def test_a_save_to_another_database_in_a_run_is_not_the_runs(handler, using, other):
    def told(row, payload):
        row.note = "worked"
        row.save(using=other)

    row = make(Job, using, what=handler(told))
    queued()
    run(row)
    row = Job.objects.using(using).get(pk=row.pk)
    assert (row.status, row.success, row.note) == (DONE, True, "worked")
    assert Job.objects.using(other).get(pk=row.pk).note == "worked"


# -- in runs -----------------------------------------------------------------------------


def test_a_copy_or_a_pickle_has_no_fence(using, handler):
    kept = {}

    def told(row, payload):
        kept["copy"] = copy.copy(row)
        kept["deep copy"] = copy.deepcopy(row)
        kept["pickle"] = pickle.loads(pickle.dumps(row))
        kept["the object itself"] = row

    row = make(Job, using, what=handler(told))
    run(row)
    for name, one in kept.items():
        one.note = name
        one.save(update_fields=["note"])
        row.refresh_from_db()
        assert (row.note, row.status) == (name, DONE)


def test_a_receiver_of_the_end_may_save_and_reset_the_row(using):
    def hear(row, success, **kwargs):
        row.note = "heard"
        row.save(update_fields=["note"])
        row.reset().publish()

    row = make(Job, using)
    queued()
    signals.task_finished.connect(hear)
    try:
        run(row)
    finally:
        signals.task_finished.disconnect(hear)
    row.refresh_from_db()
    assert (row.status, row.note) == (READY, "heard")
    assert [kwargs["id"] for kwargs in queued()] == [row.pk]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("refreshes", [False, True])
def test_what_a_block_has_rolled_back_is_written_at_the_end(using, handler, again, refreshes):
    def told(row, payload):
        with pytest.raises(ZeroDivisionError), transaction.atomic(using):
            row.other = 5
            row.save()
            if refreshes:
                row.refresh_from_db()
            raise ZeroDivisionError
        if again:
            row.save()

    row = make(Job, using, what=handler(told))
    run(row)
    row.refresh_from_db()
    assert (row.other, row.status) == (5, DONE)


def test_what_a_block_has_committed_is_not_written_again(using, handler):
    def told(row, payload):
        with transaction.atomic(using):
            row.other = 5
            row.save()
        Job.objects.using(using).filter(pk=row.pk).update(other=7)  # somebody else

    row = make(Job, using, what=handler(told))
    run(row)
    row.refresh_from_db()
    assert row.other == 7


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"a": 0}, {"a": False}),
        ({"a": 1}, {"a": 1.0}),
        ([1], [True]),
        ({"a": {"b": [0]}}, {"a": {"b": [False]}}),
        (0, False),
        (1, True),
    ],
)
def test_a_change_that_python_calls_equal_is_written(using, monkeypatch, before, after):
    from tests.support.project.jobs import handlers

    row = make(EveryJob, using, data=before)
    monkeypatch.setattr(handlers, "every", lambda row: {"data": after})
    run(row)
    row.refresh_from_db()
    assert repr(row.data) == repr(after)


class Odd:
    """What cannot be compared, as an array of numpy's."""

    def __eq__(self, other):
        raise ValueError("ambiguous")

    __hash__ = None


def test_values_that_cannot_be_compared_count_as_changed():
    from simpletask2_celery.rows.fence import is_same

    assert not is_same(Odd(), Odd()) and not is_same([Odd()], [Odd()])
    assert not is_same(float("nan"), float("nan"))
    assert is_same({"a": [1, "b", None]}, {"a": [1, "b", None]})
    assert not is_same({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_a_composite_key_is_known_too(using):
    row = PairJob.objects.using(using).create(tenant=1, number=2)
    old = PairJob.objects.using(using).get(pk=row.pk)
    run(row)
    old.save()
    assert state_of(row) == (DONE, True)


@pytest.mark.parametrize("fields", [["note"], ["status"], None])
def test_a_save_of_nothing_asks_for_the_claim_too(using, model, handler, fields):
    heard = []

    def told(row, payload):
        model.objects.using(using).get(pk=row.pk).reset()
        with pytest.raises(ClaimLost) as caught:
            row.save(**({"update_fields": fields} if fields else {}))
        heard.append(caught.value.code)

    row = make(model, using, what=handler(told))
    with pytest.raises(ClaimLost):
        run(row)
    assert heard == [2910014] and state_of(row)[0] == READY


# -- templates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        *("save", "asave", "delete", "publish", "push_to_mq", "start", "done", "reset"),
        *("do_task", "do_task_main_step1", "publish_many", "do_auto_reset"),
        *("apublish", "apublish_many", "astart", "adone", "areset"),
    ],
)
def test_a_template_calls_nothing_that_writes(using, model, method):
    row = make(model, using)
    queued()
    assert Template(f"{{{{ row.{method} }}}}").render(Context({"row": row})) == ""
    assert state_of(row) == (READY, None) and queued() == []


def test_without_autocommit_a_row_is_saved_and_left_to_auto_reset(using, caplog):
    transaction.set_autocommit(False, using)
    try:
        row = make(Job, using)
        row.publish()
        transaction.commit(using)
    finally:
        transaction.rollback(using)
        transaction.set_autocommit(True, using)
    assert queued() == [] and "Autocommit is off" in caplog.text
    Job.objects.using(using).update(auto_reset_time=None)
    assert Job.do_auto_reset() == 1
    assert [kwargs["id"] for kwargs in queued()] == [row.pk]
