"""A save outside of runs that gives a durable row another ``run_after``.

Its own UPDATE also says when auto-reset looks at the row, if the row is READY in the database. The
instance may be older than a claim, whose lease has to stay as it is.
"""

from typing import Any

from django.db import models
from django.db.models import Case, F, Value, When

from . import due, querysets, seen
from .states import READY


def with_look(row: Any, table: type[models.Model], values: list[Any]) -> list[Any] | None:
    """Return Django's triples (field, None, value) of an UPDATE, and one for auto-reset's look.

    None where ``run_after`` is not one of them, or where the caller has set that look as well.
    Raises ValidationError where ``run_after`` is no time.
    """
    names = {column.attname for column, _, _ in values}
    if "run_after" not in names or "auto_reset_time" in names:
        return None  # it may be the table of a parent that is no task
    column: Any = table._meta.get_field("auto_reset_time")
    if column.model is not table:
        return None
    look = Value(due.look(row), column)
    if_ready = Case(When(status=READY, then=look), default=F(column.attname))
    return [*values, (column, None, if_ready)]


def ready_row(row: Any) -> Any:
    """Return the row as a save has left it in the database, if it is READY; or None.

    The instance that was saved gets auto-reset's look of it.
    """
    rows = type(row)._base_manager.using(row._state.db).filter(pk=row.pk, status=READY)
    ready = querysets.light(rows).first()
    if ready is not None:
        seen.hold(row, {"auto_reset_time": ready.auto_reset_time})
    return ready
