"""Rows with mixins of other packages: ``python -m tests.support.mixins NAME [URL]``.

Makes a project of one model, runs a row of it three times over, and prints what has become
of it as JSON: {"plain": …, "conflict": …, "claim lost": …, "stale save": …, "own": …, "checks": …}.
"""

import json
import sys
import types
from pathlib import Path

from celery import Celery
from django.conf import settings

SQLITE = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
APPS = {"simple_history": "simple_history", "polymorphic": "polymorphic"}


def main(name, url=None):
    app = Celery("mixins", broker="memory://", set_as_current=True)
    app.set_default()
    sys.modules["mixed"] = types.ModuleType("mixed")
    sys.modules["mixed"].__path__ = [str(Path(__file__).parent / "project")]
    database = SQLITE
    if url:
        from tests.support.database import server

        database = server(url)
        database["NAME"] = database["TEST"]["NAME"]
    settings.configure(
        DATABASES={"default": database},
        SECRET_KEY="mixins",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.auth",
            *([APPS[name]] if name in APPS else []),
            "simpletask2_celery",
            "mixed",
        ],
    )
    import django

    django.setup()
    if reason := why_not(name):
        print(json.dumps({"unsupported": reason}))
    else:
        print(json.dumps(Trial(name).results()))


def why_not(name):
    """Say why a package's fields do not even save a plain model on this Django."""
    from django.db import connection, models

    meta = type("Meta", (), {"app_label": "mixed"})
    fields = {"__module__": __name__, "Meta": meta}
    if name == "concurrency":
        from concurrency.fields import AutoIncVersionField

        model = type("Plain", (models.Model,), {**fields, "v": AutoIncVersionField()})
    elif name == "ool":
        from ool import VersionedMixin, VersionField

        bases = VersionedMixin, models.Model
        model = type("Plain", bases, {**fields, "v": VersionField()})
    else:
        return None
    with connection.schema_editor() as editor:
        editor.create_model(model)
    row = model.objects.create()
    try:
        row.save()
    except TypeError as error:
        return str(error)
    return None


class Trial:
    """A model with a mixin, in a database of its own."""

    def __init__(self, name):
        from django.core.management import call_command
        from django.db import connection, models

        from simpletask2_celery.models import SimpleTask

        trial = self

        class Row(SimpleTask):
            note = models.CharField(max_length=20, default="")
            other = models.CharField(max_length=20, default="")

            def do_task_main(self, payload):
                trial.meanwhile(self)
                self.note = "handler"

            class Meta:
                app_label = "mixed"
                abstract = True

        self.meanwhile = lambda row: None
        self.model, self.conflict, self.own = globals()[name](Row)
        call_command("migrate", verbosity=0, run_syncdb=True)
        with connection.schema_editor() as editor:
            tables = connection.introspection.table_names()
            for model in django_models("mixed"):
                if model._meta.db_table not in tables:
                    editor.create_model(model)

    def results(self):
        from django.core import checks

        found = {"plain": self.run(lambda row: None)}
        if self.conflict:
            found["conflict"] = self.run(lambda row: self.change(row, **self.conflict))
        lost = {"status": 20, "start_time": "2031-01-01T00:00:00Z", "note": "second"}
        found["claim lost"] = self.run(lambda row: self.change(row, **lost))
        found["stale save"] = self.stale()
        found["own"] = self.own(self.model)
        found["checks"] = [str(one) for one in checks.run_checks() if one.obj is self.model]
        return found

    def change(self, row, **values):
        self.model._base_manager.filter(pk=row.pk).update(**values)

    def run(self, meanwhile):
        from simpletask2_celery.running import executor

        row = self.model.objects.create()
        self.meanwhile, error = meanwhile, None
        try:
            executor.run(self.model, "default", row.pk)
        except Exception as raised:
            error = str(raised)
        return [*self.state(row), error]

    def stale(self):
        """Save an object that was loaded before its row has run."""
        from simpletask2_celery.running import executor

        self.meanwhile = lambda row: None
        row = self.model.objects.create()
        old = self.model.objects.get(pk=row.pk)
        executor.run(self.model, "default", row.pk)
        try:
            old.other = "web"
            old.save(update_fields=["other"])
            old.save()
        except Exception as error:  # a guard's own
            return [*self.state(row), type(error).__name__]
        return [*self.state(row), None]

    def state(self, row):
        row = self.model._base_manager.get(pk=row.pk)
        return [row.status, row.success, row.note]


def django_models(label):
    from django.apps import apps

    return [model for model in apps.get_models() if model._meta.app_label == label]


def model_of(*bases, **fields):
    meta = type("Meta", (), {"app_label": "mixed"})
    return type("Mixed", bases, {"__module__": __name__, "Meta": meta, **fields})


def django_fsm(row):
    from django_fsm import ConcurrentTransitionMixin, FSMField, transition

    def ship(self):
        pass

    ship = transition(field="state", source="new", target="shipped")(ship)

    def do_task_main(self, payload):
        row.do_task_main(self, payload)
        self.ship()

    model = model_of(
        ConcurrentTransitionMixin,
        row,
        state=FSMField(default="new"),
        ship=ship,
        do_task_main=do_task_main,
    )
    return model, {"state": "other"}, lambda model: model.objects.first().state


def ool(row):
    from ool import VersionedMixin, VersionField

    model = model_of(VersionedMixin, row, version=VersionField())
    return model, {"version": 7}, lambda model: model.objects.first().version > 0


def concurrency(row):
    from concurrency.fields import AutoIncVersionField

    model = model_of(row, version=AutoIncVersionField())
    return model, {"version": 7}, lambda model: model.objects.first().version > 1


def django_lifecycle(row):
    from django_lifecycle import AFTER_UPDATE, LifecycleModelMixin, hook

    heard = []

    def note_changed(self):
        heard.append(self.note)

    hooked = hook(AFTER_UPDATE, when="note", has_changed=True)(note_changed)
    model = model_of(LifecycleModelMixin, row, note_changed=hooked)
    return model, None, lambda model: "handler" in heard


def simple_history(row):
    from simple_history.models import HistoricalRecords

    model = model_of(row, history=HistoricalRecords())

    def own(model):
        first = model.objects.first()
        return first.history.filter(status=30, note="handler").exists()

    return model, None, own


def model_utils(row):
    from model_utils import FieldTracker
    from model_utils.fields import MonitorField
    from model_utils.models import TimeStampedModel

    model = model_of(
        TimeStampedModel,
        row,
        noted_at=MonitorField(monitor="note"),
        tracker=FieldTracker(fields=["note"]),
    )

    def own(model):
        first = model.objects.first()
        return first.noted_at > first.add_time and not first.tracker.changed()

    return model, None, own


def polymorphic(row):
    from polymorphic.models import PolymorphicModel

    parent = model_of(row, PolymorphicModel)
    meta = type("Meta", (), {"app_label": "mixed"})
    child = type("Child", (parent,), {"__module__": __name__, "Meta": meta})
    return child, None, lambda model: type(parent.objects.first()) is child


if __name__ == "__main__":
    main(*sys.argv[1:])
