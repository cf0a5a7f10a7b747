"""What a run writes of its row: by the UPDATE alone, or by save() where it has hooks."""

import pytest
from django.db import connections, models
from django.db.models import Value
from django.db.models.functions import Upper
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from simpletask2_celery.exceptions import DjangoSimpleTask2Error
from simpletask2_celery.fast import statements
from simpletask2_celery.models import SimpleTask
from simpletask2_celery.rows import claiming, transitions
from simpletask2_celery.rows.model import Row
from simpletask2_celery.running import executor
from tests.support.project.jobs import handlers
from tests.support.project.jobs.models import ChildJob, EveryJob, Job
from tests.support.rows import AFTER, BEFORE


@pytest.fixture
def djangos(monkeypatch):
    """The names of the classes whose rows Django's own save() has looked at."""
    looked_at = []
    look = models.Model._prepare_related_fields_for_save

    def noted(row, *args, **kwargs):
        looked_at.append(type(row).__name__)
        return look(row, *args, **kwargs)

    monkeypatch.setattr(models.Model, "_prepare_related_fields_for_save", noted)
    return looked_at


def ended(model, using, djangos, **fields):
    """Run a row of the model, which must end well; return it as it is in the database."""
    row = model.objects.using(using).create(**fields)
    djangos.clear()
    executor.run(model, using, row.pk)
    row = model.objects.using(using).get(pk=row.pk)
    assert (row.status, row.success, row.auto_reset_time) == (30, True, None)
    assert row.done_time is not None and row.mod_time > row.add_time
    return row


def test_a_row_without_hooks_is_written_by_an_update_alone(using, djangos, handler):
    def told(row, payload):
        row.note = "written"

    row = ended(Job, using, djangos, what=handler(told), other=5)
    assert (row.note, row.other, djangos) == ("written", 5, [])


@pytest.mark.parametrize("left_out", ["raw", None])
def test_every_kind_of_field_is_written_so(using, djangos, monkeypatch, left_out):
    """But for bytes, whose placeholder is their field's: a model of such is Django's."""
    first, second = (Job.objects.using(using).create() for _ in range(2))
    new = {name: value for name, value in AFTER.items() if name != left_out}
    monkeypatch.setattr(handlers, "every", lambda row: {**new, "other_job_id": second.pk})
    if left_out:
        monkeypatch.setattr(statements, "_saves_plainly", lambda *_: True)
    row = ended(EveryJob, using, djangos, other_job=first, **BEFORE)
    found = {name: getattr(row, name) for name in AFTER}
    found["raw"] = bytes(found["raw"])
    assert (found, row.other_job_id) == ({**BEFORE, **new}, second.pk)
    assert djangos == ([] if left_out else ["EveryJob"])


def test_an_expression_is_saved_by_django(using, djangos, handler):
    def told(row, payload):
        row.other = models.F("other") + 1

    row = ended(Job, using, djangos, what=handler(told), other=5)
    assert (row.other, djangos) == (6, ["Job"])


def test_a_field_that_makes_an_expression_is_saved_by_django(using, djangos, monkeypatch):
    note = Job._meta.get_field("note")
    plain = note.get_db_prep_save

    def prepare(value, connection):
        return Upper(Value(value)) if value == "loud" else plain(value, connection)

    row = Job.objects.using(using).create(note="low")
    row = claiming.claim(Job, using, row.pk)
    monkeypatch.setattr(statements, "_UNCHANGED", {})
    monkeypatch.setattr(note, "get_db_prep_save", prepare)
    djangos.clear()
    row.note = "loud"
    transitions.finish(row)
    assert Job.objects.using(using).get(pk=row.pk).note.lower() == "loud"
    assert djangos == ["Job"]


@pytest.mark.parametrize("signal", [pre_save, post_save])
def test_receivers_hear_of_the_save(using, djangos, signal):
    heard = []

    def hear(sender, instance, update_fields, **kwargs):
        heard.append((sender, instance.status, instance.success, update_fields))

    with_receiver = Job.objects.using(using).create()
    signal.connect(hear, sender=Job)
    try:
        executor.run(Job, using, with_receiver.pk)
    finally:
        signal.disconnect(hear, sender=Job)
    assert heard == [(Job, 30, True, None)]


def test_a_save_of_the_users_is_called(using, djangos, monkeypatch):
    def save(row, *args, **kwargs):
        row.note += "+"
        SimpleTask.save(row, *args, **kwargs)

    ended(Job, using, djangos)
    monkeypatch.setattr(Job, "save", save, raising=False)
    assert ended(Job, using, djangos).note == "++"  # at its creation, and at its end
    assert djangos == ["Job"]


@pytest.mark.parametrize("name", ["save", "save_base", "_save_table", "_do_update"])
def test_a_hook_of_a_mixin_is_found_wherever_it_stands(name):
    def hook(row, *args, **kwargs):
        raise AssertionError

    def abstract(*bases, **more):
        meta = type("Meta", (), {"abstract": True})
        return type("Made", bases, {"Meta": meta, "__module__": __name__, **more})

    mixin = abstract(models.Model, **{name: hook})
    assert not statements.saves_as_django_does(abstract(mixin, SimpleTask), Row)
    assert not statements.saves_as_django_does(abstract(SimpleTask, mixin), Row)
    assert statements.saves_as_django_does(abstract(SimpleTask, abstract(models.Model)), Row)


def test_a_child_table_is_saved_by_django(using, djangos):
    assert ended(ChildJob, using, djangos).status == 30
    assert djangos == ["ChildJob"]


def test_a_related_row_that_is_held_is_looked_at(using, djangos, monkeypatch):
    """Django refuses the save of a row whose related one was never saved."""
    monkeypatch.setattr(handlers, "every", lambda row: {"other_job": Job()})
    row = EveryJob.objects.using(using).create()
    with pytest.raises(DjangoSimpleTask2Error, match="2910010.*unsaved related object"):
        executor.run(EveryJob, using, row.pk)


def test_a_field_that_is_not_loaded_any_more_is_left_alone(using, djangos, handler):
    def told(row, payload):
        del row.__dict__["note"]

    with CaptureQueriesContext(connections[using]) as queries:
        row = ended(Job, using, djangos, what=handler(told), note="kept")
    assert (row.note, djangos) == ("kept", ["Job"])
    finish = [one["sql"] for one in queries if "done_time" in one["sql"][:400]]
    assert not any('"note" =' in sql or "`note` =" in sql for sql in finish)
