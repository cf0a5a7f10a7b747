"""A row's name, as messages, lists and logs carry it: app, model and primary key."""

import json
import reprlib
from typing import Any

from django.db.models import Model

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 120


def text(model: type[Model], pk: object) -> str:
    """Return ``"app.model:pk"`` (section 2 of the compatibility page); never raises.

    The values of a composite key as a JSON array, as Django writes them. A key of the user's own
    class that has no text is named by that class.
    """
    try:
        key = json.dumps(pk, default=str) if isinstance(pk, tuple) else str(pk)
    except Exception:
        key = f"<{type(pk).__name__}>"
    return f"{model._meta.app_label}.{model._meta.model_name}:{key}"


def handler_name(step: int | str) -> str:
    """Return the name of the method that is called for a step."""
    return f"do_task_main_step{step}"


def handler(model: type[Model], step: int) -> str:
    """Return the name of the user's method that handles a step.

    By default the first step calls ``do_task_main``: its method is marked ``is_whole_task``.
    """
    name = handler_name(step)
    is_whole = getattr(getattr(model, name, None), "is_whole_task", False)
    return "do_task_main" if is_whole else name


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


def short(value: object) -> str:
    """Return what a stranger sent in few words, on one line, however long or deep."""
    words = _REPR.repr(value)
    return words[1:-1] if isinstance(value, str) else words
