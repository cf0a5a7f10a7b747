"""Rows made by name, of JSON: what a time table of beat asks for.

An error names what was wrong and what would be right. Fields are converted as forms and fixtures
have it (``Field.to_python``); ``full_clean()`` is not called.
"""

import datetime
import difflib
import re
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connections, models, router, transaction
from django.utils import timezone

from . import clock, memory, retrying
from .model import Row, task_models
from .querysets import target_field
from .states import STATE_FIELDS
from .task_info import short

_TICK = re.compile(r"\{tick:([^{}]+)\}")
#: What fields raise for a value that they cannot hold; those of decimals are ArithmeticErrors.
_WRONG = (ArithmeticError, TypeError, ValidationError, ValueError)


def create(model: type[Row], using: str, fields: Any, tick: datetime.datetime) -> Row | None:
    """Save a new row, and return it; None where a unique key has one already.

    ``fields`` are JSON values by the names of columns. In texts ``{tick:%Y-%m-%d}`` stands for
    the time ``tick`` in that format. Raises TypeError or ValueError for what cannot be a field or
    its value.
    """
    row = model(**_values(model, fields, tick))
    # The key of a parent's row must not lead to an UPDATE of that row.
    insert: Any = (models.Model,) if model._meta.parents else True
    try:
        with transaction.atomic(using):  # an error must not break a transaction around this one
            row.save(using=using, force_insert=insert)
    except IntegrityError as error:
        # After the INSERT it is the error of a receiver, about a row of its own.
        if row._state.adding and retrying.is_of_a_duplicate(using, error):
            return None
        raise
    return row


def model_of(label: Any) -> type[Row]:
    """Return the model "app.model". Raises TypeError or ValueError where there is none of tasks."""
    if not isinstance(label, str):
        raise TypeError(f'model must be a text as "app.model", not {short(label)}.')
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError):
        model = None
    if model is None or not issubclass(model, Row):
        labels = [one._meta.label_lower for one in task_models()]
        raise ValueError(f"There is no model of tasks {short(label)}.{_near(label, labels)}")
    return model


def alias_of(model: type[Row], using: Any) -> str:
    """Return the alias ``using``, or for None the one that the model is written to.

    Raises ValueError for what is no alias.
    """
    if using is None:
        return str(router.db_for_write(model))
    if not isinstance(using, str) or using not in connections:
        aliases = ", ".join(connections)
        raise ValueError(f"There is no database {short(using)}. There are: {aliases}.")
    return using


def _values(model: type[Row], fields: Any, tick: datetime.datetime) -> dict[str, Any]:
    """Return the values for the model's constructor."""
    if not isinstance(fields, dict):
        example = '{"name": "value"}'
        raise TypeError(f"fields must be an object as {example}, not {short(fields)}.")
    values = {}
    for name, value in fields.items():
        field = _field(model, name)
        where = f"{model._meta.label_lower}.{name}"
        try:
            values[name] = _converted(field, _filled(value, tick))
        except _WRONG as error:
            why = " ".join(getattr(error, "messages", [str(error)]))
            raise ValueError(f"{where} cannot be {short(value)}: {why}") from error
    return values


def _field(model: type[Row], name: str) -> Any:
    """Return the column of that name."""
    columns: dict[str, Any] = {one.attname: one for one in model._meta.concrete_fields}
    where, own = f"{model._meta.label_lower}.{short(name)}", _own(model)
    if name in own:
        raise ValueError(f"{where} is written by the library: a new row is READY.")
    if name in columns and not getattr(columns[name], "generated", False):
        return columns[name]
    for attname, field in columns.items():
        if field.name == name and attname not in own:
            raise ValueError(f"{where} leads to another row: name the row's key, as {attname}.")
    names = [one for one in columns if one not in own]
    raise ValueError(f"There is no field {where} to set.{_near(name, names)}")


def _own(model: type[Row]) -> set[str]:
    """Return the columns that the library writes."""
    memory_of_rows = memory.FIELDS - {"run_after"} if model._is_durable else ()
    return {*STATE_FIELDS, "add_time", "mod_time", *memory_of_rows}


def _converted(field: Any, value: Any) -> Any:
    """Return a JSON value as the field has it. Raises one of _WRONG where it cannot be one."""
    if value is None:
        if not field.null:
            raise ValueError("the field takes no null.")
        return None
    field = target_field(field)
    # Python would take True for 1, cut 1.5 to 1, and spell a list as a text.
    is_text = isinstance(field, (models.CharField, models.TextField))
    if isinstance(value, (bool, list, dict)) and is_text:
        raise ValueError("the field takes a text.")
    is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(field, models.IntegerField) and not isinstance(value, str):
        if isinstance(value, bool) or not is_whole:
            raise ValueError("the field takes a whole number.")
    is_number = isinstance(field, (models.FloatField, models.DecimalField))
    if is_number and isinstance(value, bool):
        raise ValueError("the field takes a number.")
    converted = field.to_python(value)
    return clock.stored(converted) if isinstance(converted, datetime.datetime) else converted


def _filled(value: Any, tick: datetime.datetime) -> Any:
    """Return a JSON value with the tick's time in its texts; keys of objects stay as they are."""
    if isinstance(value, str):
        local = timezone.localtime(tick)
        return _TICK.sub(lambda match: local.strftime(match[1]), value)
    if isinstance(value, list):
        return [_filled(one, tick) for one in value]
    if isinstance(value, dict):
        return {key: _filled(one, tick) for key, one in value.items()}
    return value


def _near(name: str, names: Iterable[str]) -> str:
    """Return the name that was meant, or all names, as a sentence."""
    names = sorted(names)
    close = difflib.get_close_matches(name.lower(), names, n=1)
    if close:
        return f" Did you mean {close[0]}?"
    return f" There are: {', '.join(names)}."
