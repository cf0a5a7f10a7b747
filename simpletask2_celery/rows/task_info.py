"""A row's name, as messages, lists and logs carry it: app, model and primary key."""

import json
import reprlib
from typing import Any

from django.apps import apps
from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import connections, router
from django.db.models import CharField, IntegerField, Model

from .. import exceptions

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 120


def text(model: type[Model], pk: object) -> str:
    """Return ``"app.model:pk"`` (compatibility facts, section 2).

    The values of a composite key as a JSON array, as Django writes them. Never raises: a
    key of the user's own class that has no text is named by that class.
    """
    try:
        key = json.dumps(pk, default=str) if isinstance(pk, tuple) else str(pk)
    except Exception:
        key = f"<{type(pk).__name__}>"
    return f"{model._meta.app_label}.{model._meta.model_name}:{key}"


def json_id(row: Model) -> int | str:
    """Return the row's primary key as a JSON value; what JSON has not, as text."""
    pk = row.pk  # which Django looks up each time
    if isinstance(pk, (int, str)):
        return pk
    return str(row._meta.pk.value_to_string(row))


def pk_of_json(model: type[Model], key: object) -> Any:
    """Return the primary key that :func:`json_id` has made a JSON value of."""
    pk = model._meta.pk.to_python(key)
    return tuple(pk) if isinstance(pk, list) else pk  # of a composite key


def parse(name: object) -> tuple[str, str, str]:
    """Take ``"app.model:pk"`` apart into app label, model and primary key.

    Raises DjangoSimpleTask2Error 2910005 for what is no such text.
    """
    if isinstance(name, str):
        label, colon, pk = name.partition(":")
        app_label, dot, model = label.partition(".")
        if colon and dot and app_label and model:
            return app_label, model, pk
    raise exceptions.error(exceptions.BAD_TASK_INFO, task_info=short(name))


def named_row(
    base: type[Model], app_label: object, model: object, pk: object, using: object
) -> tuple[Any, str, Any]:
    """Return model, database alias and primary key of the row with that name.

    Whether there is such a row is not asked. Raises as the three below.
    """
    found = resolve_model(app_label, model, base)
    database = resolve_using(using)
    key = resolve_id(found, pk)
    if not all(_is_storable(field, part, database) for field, part in _parts(found, key)):
        raise exceptions.error(exceptions.BAD_TASK_INFO, task_info=text(found, short(pk)))
    if type(key) is int and isinstance(found._meta.pk, IntegerField):
        return found, database, key  # which needs no asking
    try:
        found._base_manager.using(database).filter(pk=key).query.sql_with_params()
    except (ValueError, TypeError, OverflowError, RecursionError, EmptyResultSet):
        name = text(found, short(pk))
        raise exceptions.error(exceptions.BAD_TASK_INFO, task_info=name) from None
    return found, database, key


def row_of_text(base: type[Model], name: object) -> tuple[Any, str, Any]:
    """Return model, database alias and primary key of the row "app.model:pk".

    The text names no database: it is the one that the router writes the model to.
    """
    app_label, model, pk = parse(name)
    found = resolve_model(app_label, model, base)
    return named_row(base, app_label, model, pk, router.db_for_write(found))


def resolve_model(app_label: object, model: object, base: type[Model]) -> type[Model]:
    """Return the model of that name.

    Raises DjangoSimpleTask2Error 2910011 where a part of the name is missing,
    2910005 where one is no text, 2910006 where there is no such model or it does
    not subclass ``base`` (compatibility facts, section 5).
    """
    if not (isinstance(app_label, str) and isinstance(model, str)):
        given = short({"app_label": app_label, "model": model})
        if None in (app_label, model):
            raise exceptions.error(exceptions.TASK_INFO_MISSING, payload=given)
        raise exceptions.error(exceptions.BAD_TASK_INFO, task_info=given)
    name = f"{app_label}.{model}"
    try:
        found = apps.get_model(app_label, model)
    except (LookupError, ValueError):
        raise exceptions.error(exceptions.NO_SUCH_MODEL, model=short(name)) from None
    if not issubclass(found, base):
        raise exceptions.error(exceptions.NO_SUCH_MODEL, model=short(name))
    return found


def resolve_id(model: type[Model], value: object) -> Any:
    """Return ``value``, a JSON value, as a primary key of ``model``.

    Raises DjangoSimpleTask2Error 2910011 where there is none, 2910005 where it
    cannot be a primary key of that model (compatibility facts, section 5).
    """
    if value is None:
        name = text(model, short(value))
        raise exceptions.error(exceptions.TASK_INFO_MISSING, payload=name)
    try:
        # bool is an int to Python, and 1.5 or [1] would be cut or spelled into a key.
        if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
            raise ValueError("neither a number nor a text")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("a text that no database holds")
        str(value).encode()  # a lone surrogate is in no database
        key = model._meta.pk
        longest = key.max_length if isinstance(key, CharField) else None
        if longest is not None and len(str(value)) > longest:
            raise ValueError("longer than any key")
        return model._meta.pk.to_python(value)
    except (ValidationError, ValueError, TypeError, OverflowError, RecursionError):
        name = text(model, short(value))
        raise exceptions.error(exceptions.BAD_TASK_INFO, task_info=name) from None


def resolve_using(using: object) -> str:
    """Return the database alias of a message. Raises 2910005 for an unknown one."""
    if using is None:
        return "default"
    if not isinstance(using, str) or using not in connections:
        raise exceptions.error(
            exceptions.BAD_TASK_INFO, task_info=f"database {short(using)} is not configured"
        )
    return using


def _parts(model: type[Model], key: Any) -> list[tuple[Any, Any]]:
    if isinstance(key, (tuple, list)):  # of a composite key
        return list(zip(model._meta.pk_fields, key, strict=False))
    return [(model._meta.pk, key)]


def _is_storable(field: Any, value: Any, using: str) -> bool:
    """Tell whether a database could hold the value in that field at all."""
    while field.remote_field:  # to a parent's key
        field = field.target_field
    if isinstance(value, str):
        try:
            return b"\0" not in value.encode()
        except UnicodeEncodeError:
            return False
    if isinstance(value, int) and isinstance(field, IntegerField):
        low, high = connections[using].ops.integer_field_range(field.get_internal_type())
        return low is None or low <= value <= high
    return True


def short(value: object) -> str:
    """Return what a stranger sent in few words, on one line, however long or deep."""
    shown = _REPR.repr(value)
    return shown[1:-1] if isinstance(value, str) else shown
