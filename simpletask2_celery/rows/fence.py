"""The fence of a run: what must still be true of a row for the run to write to it.

The claim token is ``start_time``. Once a row is reset, claimed again, done or deleted, no row
matches token and status any more, and a write changes nothing. This module alone touches
``row._fence``.
"""

import copy
import datetime
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from django.db import connections, models

from . import querysets, transactions
from .states import DOING, STATE_FIELDS
from .values import PLAIN, is_expression, is_same

NAME = "_fence"  # the attribute of a row, which no copy and no pickle of it gets
_UNKNOWN = object()  # equal to nothing


@dataclass
class Fence:
    """What a run holds of its row: the key, the token, and the row as it was loaded.

    ``writes`` are the columns of the transition that is being saved. A handler's own save has none,
    so it cannot undo what a transition wrote. A forced transition has a fence without a status,
    which every row passes.
    """

    pk: Any
    token: datetime.datetime | None
    status: int | None
    using: str = "default"
    loaded: dict[str, Any] = field(default_factory=dict)
    writes: frozenset[str] = frozenset()
    is_deleted: bool = False  # by its own handler
    depth: int = 0  # of the transactions around the run

    def where(self) -> dict[str, Any]:
        """Return what must be true of the row, as the conditions of a WHERE clause."""
        return {"pk": self.pk, "status": self.status, "start_time": self.token}

    def narrow(self, rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Return the rows that the run may write to: its own, while it holds it."""
        if self.status is None:
            return rows
        return rows.filter(status=self.status, start_time=self.token)

    def held(self, model: type[models.Model]) -> models.QuerySet[Any]:
        """Return the row while its run holds it; no row once the claim is lost."""
        return self.narrow(querysets.owned(model, self.using)).filter(pk=self.pk)

    def remember_loaded(
        self, row: models.Model, fields: "Iterable[models.Field[Any, Any]]"
    ) -> None:
        """Remember what the database holds of the row's fields.

        A transaction of the handler's may be rolled back: until its commit, they count as changed.
        """
        held = vars(row)
        values = {one.attname: _kept(held.get(one.attname, _UNKNOWN)) for one in fields}
        connection = connections[self.using]
        can_commit = connection.in_atomic_block or connection.autocommit
        if can_commit and len(connection.atomic_blocks) <= self.depth:
            self._remember(values)
            return
        self._remember(dict.fromkeys(values, _UNKNOWN))
        transactions.after_commit(self.using, partial(self._remember, values))

    def _remember(self, values: dict[str, Any]) -> None:
        self.loaded |= values
        for name in [name for name, value in values.items() if value is _UNKNOWN]:
            del self.loaded[name]

    def keep(self, values: list[Any]) -> list[Any]:
        """Return those of Django's triples (field, None, value) that a save may write.

        They are the transition's columns, and what the run has changed: others may have changed the
        rest meanwhile.
        """
        return [one for one in values if self.may_write(one[0]) and self._is_due(*one)]

    def may_write(self, column: Any) -> bool:
        """Tell whether a column is not the state's, or one of the transition's."""
        state = getattr(column.model, "_state_fields", STATE_FIELDS)
        return column.attname in self.writes or column.attname not in state

    def _is_due(self, column: "models.Field[Any, Any]", _: None, value: Any) -> bool:
        """Tell whether a column is one of the transition's, or has changed."""
        name = column.attname
        # What is not remembered, such as a file or a geometry, is compared with nothing.
        if name in self.writes or name not in self.loaded:
            return True
        loaded = self.loaded[name]
        return loaded is not value if is_expression(value) else not is_same(loaded, value)


def of(row: models.Model) -> Fence | None:
    """Return the fence of the run that holds the row; None outside of runs."""
    return vars(row).get(NAME)


def around(row: models.Model, using: str) -> Fence | None:
    """Return the row's fence if a save to the database ``using`` is one of the run's own row."""
    fence = of(row)
    return fence if fence is not None and (fence.using, fence.pk) == (using, row.pk) else None


def set_around(row: Any, using: str) -> None:
    """Put a fence around a row that was just claimed and loaded."""
    depth = len(connections[using].atomic_blocks)
    move(Fence(row.pk, row.start_time, DOING, using, depth=depth), row)


def move(fence: Fence, row: models.Model) -> None:
    """Put the fence of a run around its row, loaded anew."""
    fence.loaded.clear()
    fence.remember_loaded(row, row._meta.concrete_fields)
    put(fence, row)


def put(fence: Fence, row: models.Model) -> None:
    """Put a fence around a row."""
    vars(row)[NAME] = fence


def lift(row: models.Model) -> None:
    """Take the fence away: the run is over, and the row is saved like any other."""
    vars(row).pop(NAME, None)


def is_held(row: models.Model) -> bool:
    """Tell whether the run has its claim still."""
    fence = of(row)
    return fence is not None and fence.held(type(row)).exists()


@contextmanager
def writing(fence: Fence, row: models.Model, values: dict[str, Any]) -> Iterator[None]:
    """Set the values of a transition, and let the saves inside write them."""
    for name, value in values.items():
        setattr(row, name, value)
    fence.writes = frozenset(values)
    try:
        yield
    finally:
        fence.writes = frozenset()


def _kept(value: Any) -> Any:
    """Return a value as it can be compared later; files, geometries and the like cannot."""
    if isinstance(value, PLAIN) or is_expression(value):  # F("n") + 1 is saved once
        return value
    try:
        return copy.deepcopy(value) if isinstance(value, (dict, list)) else _UNKNOWN
    except Exception:  # of what is in it
        return _UNKNOWN
