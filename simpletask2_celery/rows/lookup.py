"""Which row a name means: the model, the database and the key of a message or a list entry.

Whether there is such a row is not asked. Each function raises DjangoSimpleTask2Error 2910011
where a part of the name is missing, 2910005 where one cannot be what it stands for, 2910006
where there is no such model of rows (section 5 of the compatibility page).
"""

from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import connections, router
from django.db.models import CharField, IntegerField, UUIDField

from .. import exceptions
from .model import Row
from .querysets import target_field
from .task_info import short, text

#: What a value raises that cannot be a primary key; UnicodeEncodeError is a ValueError.
_NO_KEY = (EmptyResultSet, OverflowError, RecursionError, TypeError, ValidationError, ValueError)


def named_row(
    app_label: object, model: object, pk: object, using: object
) -> tuple[type[Row], str, Any]:
    """Return model, alias and key; ``pk`` is a JSON value, and None for ``using`` "default"."""
    row_model = named_model(app_label, model)
    database = "default" if using is None else using
    if not isinstance(database, str) or database not in connections:
        raise _bad(f"database {short(using)} is not configured")
    if pk is None:
        name = text(row_model, short(pk))
        raise exceptions.error(exceptions.TASK_INFO_MISSING, payload=name)
    try:
        return row_model, database, _key(row_model, database, pk)
    except _NO_KEY:
        raise _bad(text(row_model, short(pk))) from None


def row_of_text(name: object) -> tuple[type[Row], str, Any]:
    """Return model, alias and key of the row "app.model:pk", which is where the router writes."""
    label, colon, pk = name.partition(":") if isinstance(name, str) else ("", "", "")
    app_label, dot, model = label.partition(".")
    if not (colon and dot and app_label and model):
        raise _bad(short(name))
    return named_row(app_label, model, pk, router.db_for_write(named_model(app_label, model)))


def named_model(app_label: object, model: object) -> type[Row]:
    """Return the model of that name."""
    if not (isinstance(app_label, str) and isinstance(model, str)):
        payload = short({"app_label": app_label, "model": model})
        if None in (app_label, model):
            raise exceptions.error(exceptions.TASK_INFO_MISSING, payload=payload)
        raise _bad(payload)
    try:
        row_model = apps.get_model(app_label, model)
    except (LookupError, ValueError):
        row_model = None
    if row_model is None or not issubclass(row_model, Row):
        name = short(f"{app_label}.{model}")
        raise exceptions.error(exceptions.NO_SUCH_MODEL, model=name)
    return row_model


def _key(model: type[Row], using: str, value: Any) -> Any:
    """Return a JSON value as a primary key that the database could hold."""
    # bool is an int to Python, and 1.5 or [1] would be cut or spelled into a key.
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise ValueError("neither a number nor a text")
    field: Any = model._meta.pk
    if isinstance(field, CharField) and len(str(value)) > (field.max_length or len(str(value))):
        raise ValueError("longer than any key")
    _require_text(value)
    key = field.to_python(value)
    is_composite = isinstance(key, (tuple, list))
    parts = zip(model._meta.pk_fields, key, strict=False) if is_composite else [(field, key)]
    for of_key, part in parts:
        _require_storable(of_key, part, using)
    is_plain = type(key) is int and isinstance(field, IntegerField)
    if not is_plain and not (type(key) is UUID and type(field) is UUIDField):
        model._base_manager.using(using).filter(pk=key).query.sql_with_params()
    return key


def _require_storable(field: Any, value: Any, using: str) -> None:
    """Raise ValueError where no database could hold the value in that field."""
    field = target_field(field)  # of a child model, its parent's key
    _require_text(value)
    if isinstance(value, int) and isinstance(field, IntegerField):
        low, high = connections[using].ops.integer_field_range(field.get_internal_type())
        if low is not None and not low <= value <= high:
            raise ValueError("out of the column's range")


def _require_text(value: Any) -> None:
    """Raise ValueError for a text with a null byte or a lone surrogate."""
    if isinstance(value, (int, str)) and b"\0" in str(value).encode():
        raise ValueError("a text that no database holds")


def _bad(name: str) -> exceptions.DjangoSimpleTask2Error:
    return exceptions.error(exceptions.BAD_TASK_INFO, task_info=name)
