"""What users do to their instances, against a plain model of what a save writes.

Hypothesis draws who loads, keeps, changes, copies, pickles, saves and refreshes instances
of a few rows, in blocks that commit or are rolled back, outside of runs and in them, while
others claim, finish and reset the rows. After each event every row must be what the rules
say (docs/learn/models.md, "Steer rows from code" and "At least once"):

- a save outside of runs writes the user's fields, and of the state what its caller has
  changed since the instance has seen it;
- a save in a run writes what the handler has changed, nothing of the state, and nothing at
  all once the claim is lost;
- a copy begins as a new row; what Django has inserted is published, after its commit.
"""

import copy
import json
import pickle
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

import pytest
from django.db import transaction
from django.forms import modelform_factory
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from simpletask2_celery.exceptions import ClaimLost
from simpletask2_celery.publishing import publisher
from simpletask2_celery.rows import claiming, fence, transitions
from tests.support.project.jobs.models import EveryJob

READY, DOING, DONE = 10, 20, 30
FIELDS = ("data", "odd", "upper")
STATE = (
    "status success current_step start_time step1_time step2_time step3_time done_time"
).split()
EXAMPLES = {"default": (80, 40), "server": (60, 40)}  # how many, of how many events
VALUES = {
    "data": [{}, {"a": 0}, {"a": False}, {"a": 1}, {"a": 1.0}, {"b": 1, "a": 0}, [1], ""],
    "odd": [0, 1, 2],
    "upper": ["", "A", "B"],
    "status": [READY, DOING, DONE],
    "success": [True, False, None],
    "current_step": [None, 1, 2],
}
CHANGES = st.sampled_from([(name, value) for name in VALUES for value in VALUES[name]])
SAVES = st.sampled_from([None, ["odd"], ["data", "upper"], ["status", "odd"], ["success"], []])
#: What the transitions write of the state.
WRITTEN = {
    "start": ["status", "start_time", "current_step", "step1_time"],
    "done": ["status", "success", "done_time"],
    "reset": STATE,
}
UNKNOWN = object()


class RolledBack(Exception):
    """Ends a block that is to be rolled back."""


def same(one, other):
    """Tell whether two values are the same to a database: False is not 0.

    The order of a JSON object's keys counts for nothing: PostgreSQL has one of its own.
    """
    if one is UNKNOWN or other is UNKNOWN:
        return False
    dump = partial(json.dumps, default=str, sort_keys=True)
    return dump(one) == dump(other)


@dataclass(eq=False)
class Held:
    """An instance that somebody has, and what the rules say that it knows.

    ``seen`` is its row's state as it has last read or written it; ``loaded`` is what a run
    knows that the database holds of the user's fields, and None outside of runs.
    """

    row: EveryJob
    seen: dict
    loaded: dict | None = None
    token: object = None

    def value_of(self, name):
        return getattr(self.row, name)

    def note_seen(self, names=STATE):
        self.seen |= {name: self.value_of(name) for name in names}

    def remember_loaded(self, names=FIELDS):
        self.loaded |= {name: copy.deepcopy(self.value_of(name)) for name in names}


@dataclass
class Outcome:
    """What a save is to write to its row, or that it is refused."""

    values: dict = field(default_factory=dict)
    is_refused: bool = False


class Machine(RuleBasedStateMachine):
    held = Bundle("held")  # outside of runs
    runs = Bundle("runs")

    def __init__(self, using, sent):
        super().__init__()
        self.using, self.sent = using, sent
        self.table = {}  # key: {column: value}
        self.inserted = Counter()
        self.objects = EveryJob.objects.using(using)
        sent.clear()

    def teardown(self):
        self.objects.all().delete()

    # -- the rules ---------------------------------------------------------------

    def outcome(self, held, names):
        """Return what a save of these fields is to do; of all where that is None."""
        names = (*FIELDS, *STATE) if names is None else names
        now = self.table[held.row.pk]
        if held.loaded is None:
            changed = [n for n in names if n in FIELDS or not self.has_seen(held, n)]
            return Outcome({name: held.value_of(name) for name in changed})
        if names == []:  # Django asks nobody
            return Outcome()
        if (now["status"], now["start_time"]) != (DOING, held.token):
            return Outcome(is_refused=True)
        mine = [n for n in names if n in FIELDS]
        return Outcome(
            {
                name: held.value_of(name)
                for name in mine
                if not same(held.value_of(name), held.loaded.get(name, UNKNOWN))
            }
        )

    def has_seen(self, held, name):
        return same(held.value_of(name), held.seen.get(name, UNKNOWN))

    def save(self, held, names, how):
        """Save as ``how`` does, and note what that has to do."""
        expected = self.outcome(held, names)
        try:
            how()
        except ClaimLost:
            assert expected.is_refused
            return None
        assert not expected.is_refused
        return expected.values

    def note_saved(self, held, values):
        if values is None:
            return
        self.table[held.row.pk] |= copy.deepcopy(values)
        held.note_seen([name for name in values if name in STATE])
        if held.loaded is not None:
            held.remember_loaded([name for name in values if name in FIELDS])

    def load(self, pk):
        row = self.objects.get(pk=pk)
        held = Held(row, {})
        held.note_seen()
        return held

    def note_stored(self, pk):
        """Take over what a transition has written: another proof is about these."""
        self.table[pk] |= self.stored(pk)

    def stored(self, pk):
        row = self.objects.get(pk=pk)
        return {name: getattr(row, name) for name in (*FIELDS, *STATE)}

    @contextmanager
    def block(self, is_rolled_back):
        with suppress(RolledBack), transaction.atomic(using=self.using):
            yield
            if is_rolled_back:
                raise RolledBack

    # -- instances -----------------------------------------------------------------

    @initialize(target=held)
    def first_row(self):
        return self.create(0)

    @rule(target=held, odd=st.sampled_from(VALUES["odd"]))
    @precondition(lambda self: len(self.table) < 3)
    def create(self, odd):
        row = self.objects.create(odd=odd)
        self.inserted[row.pk] += 1
        held = Held(row, {})
        held.note_seen()
        self.table[row.pk] = self.stored(row.pk)
        assert row.odd == odd and row.status == READY
        return held

    @rule(target=held, other=held)
    def load_once_more(self, other):
        return self.load(other.row.pk)

    @rule(
        target=held,
        other=st.one_of(held, runs),
        how=st.sampled_from(
            [copy.copy, copy.deepcopy, lambda row: pickle.loads(pickle.dumps(row))]
        ),
    )
    def copy_an_instance(self, other, how):
        """Which is nobody's run, whatever it is a copy of."""
        return Held(how(other.row), dict(other.seen))

    @rule(target=held, other=st.one_of(held, runs), is_rolled_back=st.booleans())
    def save_a_copy_as_a_new_row(self, other, is_rolled_back):
        row = copy.copy(other.row)
        expected = {name: getattr(row, name) for name in FIELDS} | {
            name: EveryJob._meta.get_field(name).get_default()
            if self.has_seen(other, name)
            else other.value_of(name)
            for name in STATE
        }
        row.pk, row._state.adding = None, True
        with self.block(is_rolled_back):
            row.save()
        if is_rolled_back:
            return self.load(other.row.pk)
        self.table[row.pk] = copy.deepcopy(expected)
        if expected["status"] == READY:
            self.inserted[row.pk] += 1
        held = Held(row, {})
        held.note_seen()
        return held

    @rule(held=st.one_of(held, runs), change=CHANGES)
    def change_a_field(self, held, change):
        self.change(held, *change)

    def change(self, held, name, value):
        setattr(held.row, name, copy.deepcopy(value))

    @rule(held=st.one_of(held, runs), value=st.sampled_from([0, False, 1.0, None]))
    def change_in_place(self, held, value):
        if isinstance(held.row.data, dict):
            held.row.data["a"] = value

    @rule(
        held=st.one_of(held, runs),
        names=SAVES,
        is_rolled_back=st.sampled_from([None, None, False, True]),
    )
    def save_it(self, held, names, is_rolled_back):
        if is_rolled_back is None:
            save = partial(held.row.save, update_fields=names)
            self.note_saved(held, self.save(held, names, save))
        else:
            self.save_in(held, names, is_rolled_back)

    def save_in(self, held, names, is_rolled_back):
        """Save in a block of a transaction."""
        save = partial(held.row.save, update_fields=names)
        with self.block(is_rolled_back):
            values = self.save(held, names, save)
        if not is_rolled_back:
            self.note_saved(held, values)
        elif held.loaded is not None and values is not None:
            held.loaded |= dict.fromkeys(values, UNKNOWN)

    @rule(run=runs, value=st.sampled_from(VALUES["upper"]))
    def a_handlers_block_fails(self, run, value):
        self.change(run, "upper", value)
        self.save_in(run, None, is_rolled_back=True)

    @rule(
        held=st.one_of(held, runs),
        odd=st.sampled_from(VALUES["odd"]),
        data=st.sampled_from(VALUES["data"][1:6]),
    )
    def save_a_form(self, held, odd, data):
        make = modelform_factory(EveryJob, fields=["odd", "data"])
        form = make({"odd": odd, "data": json.dumps(data)}, instance=held.row)
        assert form.is_valid(), form.errors
        self.note_saved(held, self.save(held, None, form.save))

    @rule(
        held=st.one_of(held, runs),
        names=st.sampled_from([None, ["odd"], ["status", "data"], ["success"]]),
        is_rolled_back=st.sampled_from([None, None, True]),
    )
    def refresh(self, held, names, is_rolled_back):
        with self.block(is_rolled_back):
            held.row.refresh_from_db(fields=names)
        names = (*FIELDS, *STATE) if names is None else names
        assert all(same(held.value_of(n), self.table[held.row.pk][n]) for n in names)
        # Also what a block has read that was rolled back: to write it would undo a transition.
        held.note_seen([name for name in names if name in STATE])
        if held.loaded is not None:
            mine = [name for name in names if name in FIELDS]
            held.remember_loaded(mine)
            if is_rolled_back:
                held.loaded |= dict.fromkeys(mine, UNKNOWN)

    # -- transitions -----------------------------------------------------------------

    @rule(held=held, name=st.sampled_from(["start", "done", "reset"]), force=st.booleans())
    def steer(self, held, name, force):
        before = {n: held.value_of(n) for n in FIELDS}
        stored = dict(self.table[held.row.pk])
        done = getattr(held.row, name)(*([force] if name != "reset" else []))
        self.note_stored(held.row.pk)
        now = self.table[held.row.pk]
        assert all(same(now[n], stored[n]) for n in FIELDS)  # the state alone
        assert all(same(before[n], held.value_of(n)) for n in FIELDS)
        if done:
            wanted = {"start": DOING, "done": DONE, "reset": READY}[name]
            assert now["status"] == held.row.status == wanted
            held.note_seen(WRITTEN[name])
        else:
            assert all(same(now[n], stored[n]) for n in STATE)

    @rule(target=runs, held=held)
    def claim(self, held):
        pk = held.row.pk
        if self.table[pk]["status"] != READY:
            self.load(pk).row.reset()
        row = claiming.claim(EveryJob, self.using, pk)
        self.note_stored(pk)
        run = Held(row, {}, {}, row.start_time)
        run.note_seen()
        run.remember_loaded()
        return run

    @rule(target=held, run=consumes(runs))
    def end(self, run):
        expected = self.outcome(run, None)
        try:
            transitions.finish(run.row)
        except ClaimLost:
            assert expected.is_refused
        else:
            assert not expected.is_refused
            self.table[run.row.pk] |= copy.deepcopy(expected.values)
            stored = self.stored(run.row.pk)
            assert (stored["status"], stored["success"]) == (DONE, True)
            self.table[run.row.pk] |= {name: stored[name] for name in STATE}
        fence.lift(run.row)  # as whoever runs rows does
        return self.load(run.row.pk)

    # -- what must hold --------------------------------------------------------------

    @invariant()
    def rows_are_what_the_rules_say(self):
        assert set(self.table) == set(self.objects.values_list("pk", flat=True))
        for pk, expected in self.table.items():
            stored = self.stored(pk)
            wrong = {
                name: (stored[name], expected[name])
                for name in stored
                if not same(stored[name], expected[name])
            }
            assert not wrong, f"row {pk}: (stored, expected) {wrong}"

    @invariant()
    def what_was_inserted_is_published_once(self):
        assert Counter(self.sent) == self.inserted


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_saves_write_what_the_rules_say(using, monkeypatch):
    sent = []

    def send(messages, *how):
        sent.extend(message.row for message in messages)

    monkeypatch.setattr(publisher, "_send", send)
    examples, events = EXAMPLES[using]
    run_state_machine_as_test(
        partial(Machine, using, sent),
        settings=settings(
            max_examples=examples,
            stateful_step_count=events,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
