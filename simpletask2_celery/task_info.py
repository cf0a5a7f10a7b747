"""A row's name, as messages and logs carry it: app, model and primary key."""

from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model

from . import exceptions


def text(model: type[Model], pk: object) -> str:
    """Return ``"app.model:pk"`` (compatibility facts, section 2)."""
    return f"{model._meta.app_label}.{model._meta.model_name}:{pk}"


def json_id(row: Model) -> int | str:
    """Return the row's primary key as a JSON value; what JSON has not, as text."""
    if isinstance(row.pk, (int, str)):
        return row.pk
    return str(row._meta.pk.value_to_string(row))


def message(row: Model) -> dict[str, Any]:
    """Return the kwargs of the row's Celery message."""
    kwargs: dict[str, Any] = {
        "app_label": row._meta.app_label,
        "model": row._meta.model_name,
        "id": json_id(row),
    }
    if row._state.db not in (None, "default"):
        kwargs["using"] = row._state.db
    return kwargs


def resolve_model(app_label: object, model: object, base: type[Model]) -> type[Model]:
    """Return the model of that name.

    Raises DjangoSimpleTask2Error 2910011 where a part of the name is missing,
    2910005 where one is no text, 2910006 where there is no such model or it does
    not subclass ``base`` (compatibility facts, section 5).
    """
    given = {"app_label": app_label, "model": model}
    if None in (app_label, model):
        raise exceptions.error(exceptions.TASK_INFO_MISSING, payload=given)
    if not isinstance(app_label, str) or not isinstance(model, str):
        raise exceptions.error(exceptions.BAD_TASK_INFO, task_info=given)
    name = f"{app_label}.{model}"
    try:
        found = apps.get_model(app_label, model)
    except (LookupError, ValueError):
        raise exceptions.error(exceptions.NO_SUCH_MODEL, model=repr(name)) from None
    if not issubclass(found, base):
        raise exceptions.error(exceptions.NO_SUCH_MODEL, model=repr(name))
    return found


def resolve_id(model: type[Model], value: object) -> Any:
    """Return ``value``, a JSON value, as a primary key of ``model``.

    Raises DjangoSimpleTask2Error 2910011 where there is none, 2910005 where it
    cannot be a primary key of that model (compatibility facts, section 5).
    """
    name = text(model, repr(value))
    if value is None:
        raise exceptions.error(exceptions.TASK_INFO_MISSING, payload=name)
    bad = exceptions.error(exceptions.BAD_TASK_INFO, task_info=name)
    # bool is an int to Python, and 1.5 or [1] would be cut or spelled into a key.
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise bad
    if isinstance(value, str) and "\0" in value:
        raise bad
    try:
        return model._meta.pk.to_python(value)
    except (ValidationError, ValueError, TypeError, OverflowError):
        raise bad from None


def resolve_using(using: object) -> str:
    """Return the database alias of a message. Raises 2910005 for an unknown one."""
    if using is None:
        return "default"
    if not isinstance(using, str) or using not in connections:
        raise exceptions.error(
            exceptions.BAD_TASK_INFO, task_info=f"database {using!r} is not configured"
        )
    return using
