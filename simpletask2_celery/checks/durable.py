"""Durable models: their retries, the steps that resume, and the transactions of steps."""

import inspect
from collections.abc import Callable
from types import CodeType
from typing import Any

from django.db import connections

from ..rows import databases
from ..rows.model import task_models
from .handlers import each_handler, of_class, shown
from .registry import Problems, check

_NO_END = float("inf")


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and 0 <= value < _NO_END


def _is_count(value: Any) -> bool:
    return value is None or (isinstance(value, int) and _is_number(value))


def _is_backoff(value: Any) -> bool:
    return isinstance(value, bool) or (_is_number(value) and value > 0)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_kinds(value: Any) -> bool:
    kinds = value if isinstance(value, (tuple, list)) else [value]
    return all(isinstance(one, type) and issubclass(one, BaseException) for one in kinds)


_EXCEPTIONS = _is_kinds, "an exception class, or a tuple or list of them"
_SECONDS = _is_number, "a number of seconds, 0 or more"
_YES_OR_NO = _is_bool, "True or False"

#: {option of a durable model: whether a value is right, and what it takes in words}
_OPTIONS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "autoretry_for": _EXCEPTIONS,
    "dont_autoretry_for": _EXCEPTIONS,
    "max_retries": (_is_count, "a whole number, 0 or more, or None for no end"),
    "default_retry_delay": _SECONDS,
    "retry_backoff": (_is_backoff, "True, False or a number of seconds above 0"),
    "retry_backoff_max": _SECONDS,
    "retry_jitter": _YES_OR_NO,
    "resume": _YES_OR_NO,
    "atomic_steps": _YES_OR_NO,
}


@check(id="simpletask2_celery.E014")
def options() -> Problems:
    """An option of a durable model that is of the wrong type, or out of range."""
    for model in task_models():
        for name, (is_right, takes) in _OPTIONS.items() if model._is_durable else ():
            value = of_class(model, name)
            if not is_right(value):
                yield (
                    f"{model.__name__}.{name} has to be {takes}, not {shown(value)}.",
                    f"Set {name} on the class to such a value, or leave it out for the default.",
                    model,
                )


@check(id="simpletask2_celery.E015", asks_databases=True)
def transactions(aliases: list[str]) -> Problems:
    """A database without transactions, for steps that are to commit with what they wrote."""
    for model in _with_atomic_steps():
        for alias in sorted({*databases.candidates(model)} & {*aliases}):
            if not connections[alias].features.supports_transactions:
                yield (
                    f"{model.__name__} has atomic_steps = True, and the database {alias!r} has no "
                    "transactions: what a handler wrote would stay when its step fails.",
                    "Keep its rows in a database that has transactions (on MySQL in InnoDB "
                    "tables), or take atomic_steps out.",
                    model,
                )


@check(id="simpletask2_celery.E016")
def tables() -> Problems:
    """A durable model that has its memory in one table and its state in another."""
    for model in task_models():
        if not model._is_durable:
            continue
        state, memory = (model._meta.get_field(name).model for name in ("status", "run_after"))
        if state is not memory:
            yield (
                f"{model.__name__} has the state of its rows in the table of {state.__name__}, and "
                f"their attempts and errors in that of {memory.__name__}: one UPDATE cannot write "
                "both.",
                f"Make {state.__name__} a DurableTask, or an abstract model.",
                model,
            )


@check(id="simpletask2_celery.W016")
def unused_options() -> Problems:
    """Options of a durable model on one that is none, where they do nothing."""
    for model in task_models():
        if model._is_durable:
            continue
        # A field, a property or a method is the model's own, which only has the same name.
        names = [
            name
            for name, (is_right, _) in _OPTIONS.items()
            if hasattr(model, name) and is_right(of_class(model, name))
        ]
        if names:
            yield (
                f"{model.__name__} has {', '.join(names)}, which nobody reads: it is a SimpleTask. "
                "Is DurableTask the base you meant?",
                "Make DurableTask its base and a migration, or take them out.",
                model,
            )


@check(id="simpletask2_celery.W017")
def async_handlers() -> Problems:
    """An async handler of atomic steps, whose own threads are outside of the transaction."""
    durable = {*_with_atomic_steps()}
    for model, name in each_handler():
        if model in durable and inspect.iscoroutinefunction(getattr(model, name)):
            yield (
                f"{model.__name__}.{name} is async, and {model.__name__} has atomic_steps = True. "
                "What it awaits of the ORM, as asave(), is in the step's transaction. What it does "
                "in threads or event loops of its own is not: sync_to_async(thread_sensitive="
                "False), asyncio.to_thread(), run_in_executor().",
                "Use the database by await alone there, and silence this check; or write the "
                "handler without async.",
                model,
            )


@check(id="simpletask2_celery.W018")
def requests_with_files() -> Problems:
    """A step that asks for a request with files, which no row that resumes can keep."""
    for model, name in each_handler():
        is_kept = model._is_durable and of_class(model, "resume") is True
        function = inspect.unwrap(getattr(model, name)) if is_kept else None
        if {"proxy", "files"} <= _texts_in(getattr(function, "__code__", None)):
            yield (
                f"{model.__name__}.{name} asks for a request with files, and {model.__name__} has "
                "resume = True. A row keeps a request as JSON, which holds no files: after a "
                "failure the step that asked for it runs again.",
                "Make that step repeatable, and silence this check; or send the content as data or "
                "json.",
                model,
            )


def _texts_in(value: Any) -> set[str]:
    """Return the constant texts of a function's code, as the keys of its dicts."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, CodeType):
        value = value.co_consts
    return set().union(*map(_texts_in, value)) if isinstance(value, (tuple, frozenset)) else set()


def _with_atomic_steps() -> list[Any]:
    return [one for one in task_models() if one._is_durable and of_class(one, "atomic_steps")]
