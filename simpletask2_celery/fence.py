"""The fence of a run: what must still be true of a row for the run to write to it.

The claim token is ``start_time``. Once a row is reset, claimed again, done or
deleted, no row matches token and status any more, and the write changes nothing.
"""

import copy
import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from django.db import connections, models

from . import savepoint
from .signals import Ended
from .statements import PLAIN

#: The columns that only transitions write (compatibility facts, section 1).
STATE_FIELDS = frozenset(
    {
        "status",
        "start_time",
        "current_step",
        "step1_time",
        "step2_time",
        "step3_time",
        "done_time",
        "success",
        "auto_reset_time",
    }
)
_VALUES = tuple(PLAIN)  # and what is derived from them
_ORDER = tuple(sorted(STATE_FIELDS))
_take = itemgetter(*_ORDER)
_UNKNOWN = object()  # equal to nothing


class Seen(NamedTuple):
    """What an instance has seen of its row's state in the database: where, and what.

    A save writes no state column that the caller has not changed since: transitions do,
    and what the instance has seen may be long over.
    """

    using: str | None
    pk: Any
    values: tuple[Any, ...]

    @classmethod
    def of(cls, row: models.Model, using: str | None) -> "Seen":
        """Return what a row has that was just loaded or written; a deferred column: no."""
        held = row.__dict__
        try:
            values = _take(held)
        except KeyError:
            values = tuple(held.get(name, _UNKNOWN) for name in _ORDER)
        return cls(using, row.pk, values)

    def with_columns(self, row: models.Model, names: "Iterable[str]") -> "Seen":
        """Return the same with some columns as the row has them now."""
        return self._changed({name: row.__dict__.get(name, _UNKNOWN) for name in names})

    def without(self, names: "Iterable[str]") -> "Seen":
        """Return the same with some columns as if they had never been seen."""
        return self._changed(dict.fromkeys(STATE_FIELDS.intersection(names), _UNKNOWN))

    def _changed(self, changes: dict[str, Any]) -> "Seen":
        values = {**dict(zip(_ORDER, self.values, strict=True)), **changes}
        return self._replace(values=tuple(values[name] for name in _ORDER))

    def value_of(self, name: str) -> Any:
        """Return the value of a state column."""
        return self.values[_ORDER.index(name)]


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are surely the same to a database; in doubt they are not.

    0 is not False and 1 not 1.0, at any depth of a JSON value, nor is the order of keys
    without a meaning: a column of text keeps it.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return is_same([*one.items()], [*other.items()])
    if isinstance(one, (list, tuple)):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(is_same(a, b) for a, b in pairs)
    return isinstance(one, _VALUES) and bool(one == other)


@dataclass
class Fence:
    """What a run holds of its row: the key, the token and the row as it was loaded.

    ``writes`` are the state columns of the transition being saved; a handler's own
    save has none, so it cannot undo what a transition wrote. ``ended`` is the step whose
    end is not saved yet. A transition that asks for nothing has the status None.
    """

    pk: Any
    token: datetime.datetime | None
    status: int | None
    using: str = "default"
    loaded: dict[str, Any] = field(default_factory=dict)
    writes: frozenset[str] = frozenset()
    ended: Ended | None = None
    is_deleted: bool = False  # by its own handler
    depth: int = 0  # of the transactions around the run

    @classmethod
    def around(cls, row: models.Model, using: str, status: int) -> "Fence":
        """Put a fence around a row just claimed and loaded."""
        token = row.start_time  # type: ignore[attr-defined]
        fence = cls(row.pk, token, status, using, depth=_depth(using))
        fence.note_loaded(row, row._meta.concrete_fields)
        return fence

    def is_around(self, row: models.Model, using: str) -> bool:
        """Tell whether a save to a database is one of the run's own row."""
        return using == self.using and row.pk == self.pk

    def note_loaded(
        self, row: models.Model, fields: "Iterable[models.Field[Any, Any]]"
    ) -> None:
        """Remember what the database holds of the row's fields.

        What is written or read in a transaction of the handler's is not sure until its
        commit: until then it counts as changed.
        """
        held = row.__dict__
        values = {one.attname: _kept(held.get(one.attname, _UNKNOWN)) for one in fields}
        if _is_certain(self.using, self.depth):
            self._note(values)
            return
        self._note(dict.fromkeys(values, _UNKNOWN))
        savepoint.after_commit(self.using, partial(self._note, values))

    def _note(self, values: dict[str, Any]) -> None:
        self.loaded |= values
        for name in [name for name, value in values.items() if value is _UNKNOWN]:
            del self.loaded[name]

    def narrow(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return the rows that the run may write to: its own, while it holds it."""
        if self.status is None:
            return rows
        return rows.filter(status=self.status, start_time=self.token)

    def keep(self, values: list[Any]) -> list[Any]:
        """Return what a save may write: the transition's columns, and what changed.

        ``values`` are Django's triples (field, None, value). A field that the run
        did not change is not written: others may have, meanwhile.
        """
        return [item for item in values if self._writes(item[0], item[2])]

    def may_write(self, column: "models.Field[Any, Any]") -> bool:
        """Tell whether a column is not the state's, or one of the transition's."""
        return column.attname in self.writes or column.attname not in STATE_FIELDS

    def _writes(self, column: "models.Field[Any, Any]", value: Any) -> bool:
        if column.attname in STATE_FIELDS or column.attname in self.writes:
            return self.may_write(column)
        # What cannot be compared for sure (files, geometries) is always written.
        if column.attname not in self.loaded:
            return True
        loaded = self.loaded[column.attname]
        return loaded is not value if _is_expression(value) else not is_same(loaded, value)


def _kept(value: Any) -> Any:
    """Return a value as it can be compared later: files, geometries and the like cannot."""
    if isinstance(value, _VALUES) or _is_expression(value):  # F("n") + 1 is saved once
        return value
    if isinstance(value, (dict, list)):
        try:
            return copy.deepcopy(value)
        except Exception:  # of what is in it
            return _UNKNOWN
    return _UNKNOWN


def _is_expression(value: Any) -> bool:
    return hasattr(value, "resolve_expression")


def _is_certain(using: str, depth: int) -> bool:
    """Tell whether nothing can roll back what is written now, but for who is around us."""
    connection = connections[using]
    return len(connection.atomic_blocks) <= depth and (
        connection.in_atomic_block or connection.autocommit
    )


def _depth(using: str) -> int:
    """Return how many blocks of a transaction are open."""
    return len(connections[using].atomic_blocks)
