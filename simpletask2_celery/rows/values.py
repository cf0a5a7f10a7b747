"""Whether two values of a column are the same to a database."""

from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

#: Plain value types. Anything else may be an expression, or change without a trace.
PLAIN = (type(None), int, float, str, bytes, Decimal, date, time, timedelta, UUID)


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are surely the same to a database; in doubt they are not.

    0 is not False and 1 not 1.0, at any depth of a JSON value. The order of keys counts,
    because a column of text keeps it.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return is_same([*one.items()], [*other.items()])
    if isinstance(one, (list, tuple)):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(is_same(a, b) for a, b in pairs)
    return isinstance(one, PLAIN) and bool(one == other)


def is_expression(value: Any) -> bool:
    """Tell whether the database computes the value, as of ``F("n") + 1``."""
    return hasattr(value, "resolve_expression")
