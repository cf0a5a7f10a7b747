"""What an instance has seen of its row's state in the database.

A save outside of runs writes no state column that the caller has not changed since the instance was
loaded: transitions write these, and what was loaded may be long over. This module alone touches
``row._seen``.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from django.db import models

from . import databases
from .values import is_same

_UNKNOWN = object()  # the value of a deferred column; equal to nothing


class Seen(NamedTuple):
    """The state columns of the row ``pk`` in the database ``using``."""

    using: str | None
    pk: Any
    values: dict[str, Any]


def note(row: Any, using: str | None) -> None:
    """Remember the state of a row that was just loaded or inserted."""
    held = vars(row)
    state = {name: held.get(name, _UNKNOWN) for name in row._state_fields}
    held["_seen"] = Seen(using, row.pk, state)


def remember_columns(row: models.Model, names: Iterable[str]) -> None:
    """Remember some state columns that were loaded or written, as the row has them now."""
    _change(row, {name: vars(row).get(name, _UNKNOWN) for name in names})


def remember_refreshed(row: Any, names: Iterable[str], is_whole: bool) -> None:
    """Remember what ``refresh_from_db()`` has loaded: all columns, or some by their names."""
    if is_whole or _of(row) is None:
        note(row, row._state.db)
    else:
        remember_columns(row, row._state_fields.intersection(names))


def forget(row: Any, names: Iterable[str]) -> None:
    """Take some columns for never seen, so that a save writes them."""
    _change(row, dict.fromkeys(row._state_fields.intersection(names), _UNKNOWN))


def hold(row: Any, values: dict[str, Any]) -> None:
    """Give a row the values that a statement has written to its state."""
    vars(row).update(values)
    remember_columns(row, row._state_fields & values.keys())


def is_unchanged(row: Any, using: str, column: Any, value: Any) -> bool:
    """Tell whether a save outside of runs has nothing to say about a column.

    It is a state column, and the caller has not changed it since the row was loaded, perhaps from a
    replica; or since the instance was made, which has the model's defaults.
    """
    if column.attname not in row._state_fields:
        return False
    seen = _of(row)
    if seen is None:
        return is_same(value, column.get_default())
    is_of_row = seen.pk == row.pk and (using == seen.using or using == databases.of(row))
    return is_of_row and is_same(value, seen.values[column.attname])


def begin_anew(row: Any) -> None:
    """Give a copy that is about to be inserted the defaults where it has the original's state.

    It has another key than the row that it was loaded as.
    """
    seen = _of(row)
    if seen is None or seen.pk == row.pk:
        return
    for column in row._meta.concrete_fields:
        name = column.attname
        is_state = name in row._state_fields and not column.editable  # run_after is an input, too
        if is_state and is_same(vars(row).get(name), seen.values[name]):
            setattr(row, name, column.get_default())


def _of(row: models.Model) -> Seen | None:
    return vars(row).get("_seen")


def _change(row: models.Model, changes: dict[str, Any]) -> None:
    """Remember changes, for this instance alone: a copy of it has the same ``_seen``."""
    if (seen := _of(row)) is not None:
        vars(row)["_seen"] = seen._replace(values=seen.values | changes)
