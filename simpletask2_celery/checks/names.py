"""Names of the library that a model's own fields, methods or bases hide.

What may be overridden is not reported: the hooks (``_HOOKS``), methods that any model of Django
has, such as ``save()``, and other methods that call what they override.
"""

import inspect
from functools import partialmethod
from types import CodeType
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from django.db.models.query_utils import DeferredAttribute

from ..models import DurableTask, SimpleTask
from ..rows.model import Row, task_models
from .registry import Problems, check

_COLUMNS: dict[str, Any] = {
    name: value.field for name, value in vars(Row).items() if isinstance(value, DeferredAttribute)
}
_MEMORY: dict[str, Any] = {
    name: value.field
    for name, value in vars(DurableTask).items()
    if isinstance(value, DeferredAttribute)
}
_STATES = {"READY": Row.READY, "DOING": Row.DOING, "DONE": Row.DONE}
#: What a model says in its own way.
_HOOKS = {
    *("do_task_main", "do_task_main_step1", "is_multi_steps", "final_step"),
    *("do_task_timeout", "task_wait_timeout", "get_do_task_timeout", "get_task_wait_timeout"),
    *("get_channel_name", "channel_name", "get_redis_conn", "SIMPLE_TASK_FIELDS"),
    *("current_step_display", "final_step_number", "keep_done"),
    *("get_celery_name", "get_urgency", "proxy_queue"),
}
_NAMES = {
    name
    for name, value in {**vars(Row), **vars(SimpleTask)}.items()
    if not name.startswith("__") and not isinstance(value, partialmethod)
} - {*_COLUMNS, *_STATES, *_HOOKS, "_listener", "_meta", "Meta"}
_NAMES_OF_DURABLE = {"retry", "is_claimed", "cancel", "acancel"} | _NAMES


@check(id="simpletask2_celery.E011")
def columns() -> Problems:
    """A column of the state, or the value of a status, that is not the library's."""
    for model in task_models():
        wrong = {
            name: _in_words(ours)
            for name, ours in {**_COLUMNS, **(_MEMORY if _is_durable(model) else {})}.items()
            if not _is_column(model, name, ours)
        }
        for name, value in _STATES.items():
            if inspect.getattr_static(model, name) != value:
                wrong[name] = str(value)
        for name, ours in wrong.items():
            yield (
                f"{model.__name__}.{name} has to be as in {_base(model, name)}: {ours}.",
                f"Rename what is called {name} in {model.__name__} or in a base of it.",
                model,
            )


@check(id="simpletask2_celery.W011")
def hidden_names() -> Problems:
    """A field, a method or a base that hides a name of SimpleTask."""
    for model in task_models():
        for name, home in _hidden(model).items():
            where = "" if home is model else f", from {home.__name__},"
            base = _base(model, name)
            is_method = callable(getattr(model, name))
            more = f" A method that is to add to it calls super().{name}()." if is_method else ""
            yield (
                f"{model.__name__}.{name}{where} hides {base}.{name}.",
                f"Rename it.{more}",
                model,
            )


def _is_column(model: Any, name: str, ours: Any) -> bool:
    """Tell whether a column holds what the library writes, even if the model defines it anew."""
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    if getattr(field, "creation_counter", None) == ours.creation_counter:  # Django's copy of it
        return True
    is_alike = isinstance(field, type(ours)) and (field.null or not ours.null)
    return is_alike and (name != "status" or field.default in _STATES.values())


def _in_words(field: Any) -> str:
    default = ", default READY, DOING or DONE" if field.name == "status" else ""
    null = ", NULL allowed" if field.null else ""
    return f"{type(field).__name__}{null}{default}"


def _hidden(model: Any) -> dict[str, type]:
    """Return the names of the library that are hidden, each with the class that hides it."""
    hidden: dict[str, type] = {}
    names = _NAMES_OF_DURABLE if _is_durable(model) else _NAMES
    for home in model.__mro__:
        if home in (DurableTask, SimpleTask, Row):
            break
        if home is model or not _is_reported(home):
            for name in names.intersection(vars(home)) - {*hidden}:
                if not _is_meant(model, name, vars(home)[name]):
                    hidden[name] = home
    for field in model._meta.fields:  # a row has its value, whichever base is found first
        if field.model is model or not _is_reported(field.model):
            for name in names.intersection((field.name, field.attname)):
                hidden.setdefault(name, field.model)
    return dict(sorted(hidden.items()))


def _is_durable(model: Any) -> bool:
    return issubclass(model, DurableTask)


def _base(model: Any, name: str) -> str:
    """Return the class whose name it is."""
    is_of_durable = _is_durable(model) and not hasattr(SimpleTask, name)
    return DurableTask.__name__ if is_of_durable else SimpleTask.__name__


def _is_reported(home: type) -> bool:
    """Tell whether a base is a model of rows, of which the checks speak by itself."""
    return issubclass(home, Row) and not home._meta.abstract and not home._meta.proxy


def _is_meant(model: Any, name: str, value: Any) -> bool:
    """Tell whether a name is overridden on purpose, by a method that calls what it overrides."""
    if hasattr(models.Model, name):  # as other packages' mixins do it, too
        return callable(getattr(model, name, None))
    function = inspect.unwrap(getattr(value, "__func__", value))
    used = _names_in(getattr(function, "__code__", None))
    bases = {one.__name__ for one in model.__mro__[1:] if issubclass(one, Row)}
    return name in used and not {"super", *bases}.isdisjoint(used)


def _names_in(code: Any) -> set[str]:
    """Return the names that a function's code uses, and that of functions in it."""
    if not isinstance(code, CodeType):
        return set()
    return {*code.co_names}.union(*map(_names_in, code.co_consts))
