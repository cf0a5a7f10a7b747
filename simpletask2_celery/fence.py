"""The fence of a run: what must still be true of a row for the run to write to it.

The claim token is ``start_time``. Once a row is reset, claimed again, done or
deleted, no row matches token and status any more, and the write changes nothing.
"""

import copy
import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db import models

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


@dataclass
class Fence:
    """What a run holds of its row: the key, the token and the row as it was loaded.

    ``writes`` are the state columns of the transition being saved; a handler's own
    save has none, so it cannot undo what a transition wrote. ``ended`` is the step whose
    end is not saved yet.
    """

    pk: Any
    token: datetime.datetime | None
    status: int
    loaded: dict[str, Any] = field(default_factory=dict)
    writes: frozenset[str] = frozenset()
    ended: Ended | None = None

    @classmethod
    def around(cls, row: models.Model, status: int) -> "Fence":
        """Put a fence around a row just claimed and loaded."""
        fence = cls(row.pk, row.start_time, status)  # type: ignore[attr-defined]
        fence.note_loaded(row, row._meta.concrete_fields)
        return fence

    def note_loaded(
        self, row: models.Model, fields: "Iterable[models.Field[Any, Any]]"
    ) -> None:
        """Remember what the database holds of the row's fields."""
        held = row.__dict__
        for one in fields:
            name = one.attname
            value = held.get(name, NotImplemented)  # of a deferred one: nothing
            if isinstance(value, _VALUES):
                self.loaded[name] = value
            elif isinstance(value, (dict, list)):
                self.loaded[name] = copy.deepcopy(value)
            elif hasattr(value, "resolve_expression"):
                self.loaded[name] = value  # F("n") + 1 is saved once
            else:
                self.loaded.pop(name, None)

    def narrow(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return the rows that the run may write to: its own, while it holds it."""
        return rows.filter(status=self.status, start_time=self.token)

    def keep(self, values: list[Any]) -> list[Any]:
        """Return what a save may write: the transition's columns, and what changed.

        ``values`` are Django's triples (field, None, value). A field that the run
        did not change is not written: others may have, meanwhile.
        """
        return [item for item in values if self._writes(item[0], item[2])]

    def _writes(self, column: "models.Field[Any, Any]", value: Any) -> bool:
        if column.attname in self.writes:
            return True
        if column.attname in STATE_FIELDS:
            return False
        # What cannot be compared for sure (files, geometries) is always written.
        if column.attname not in self.loaded:
            return True
        if hasattr(value, "resolve_expression"):
            return self.loaded[column.attname] is not value
        return bool(self.loaded[column.attname] != value)
