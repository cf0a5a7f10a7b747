"""Models: their steps and handlers, and the numbers that go with them."""

import inspect
import re
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

from django.core.exceptions import FieldDoesNotExist

from ..rows import task_info
from ..rows.model import Row, task_models
from ..running import steps
from .registry import Problems, check

_MOST = 100  # steps of a model that are looked at: a wrong final_step may be any number
_STEP = re.compile(r"do_task_main_?step_?(\d{1,9})")
_OPEN = [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]
#: Attributes of a model that are numbers, in words.
_NUMBERS = {
    "final_step": "a whole number of steps, 1 or more",
    "do_task_timeout": "a number of seconds above 0",
    "task_wait_timeout": "a number of seconds above 0",
}


@check(id="simpletask2_celery.E001")
def handlers() -> Problems:
    """A model whose final_step, or a step before it, has no handler."""
    for model, step in _steps():
        if not steps.has_handler(model, step):
            name = task_info.handler_name(step)
            yield (
                f"{model.__name__} has final_step = {model.final_step!r} but no method {name}.",
                f"Add {name}(self, payload=None) (for step 1 do_task_main will do), or lower "
                "final_step.",
                model,
            )


@check(id="simpletask2_celery.E004")
def generators() -> Problems:
    """A handler with a ``yield`` in it, of which nothing would run."""
    for model, name in each_handler():
        handler = getattr(model, name)
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            yield (
                f"{model.__name__}.{name} is a generator: nothing of it would run.",
                "Take the yield out of it, and return what it has to say.",
                model,
            )


@check(id="simpletask2_celery.E008")
def numbers() -> Problems:
    """A final_step, do_task_timeout or task_wait_timeout that is no number above 0."""
    for model in task_models():
        for name, takes in _NUMBERS.items():
            value = of_class(model, name)
            kinds = int if name == "final_step" else (int, float)
            is_number = isinstance(value, kinds) and not isinstance(value, bool)
            if not is_number or not 0 < value < float("inf"):
                yield (
                    f"{model.__name__}.{name} has to be {takes}, not {shown(value)}.",
                    f"Set {name} to a number on the class: the claim reads it there, before it "
                    "has the row. get_do_task_timeout() and get_task_wait_timeout() can say "
                    "another one for a row.",
                    model,
                )


@check(id="simpletask2_celery.E013")
def kept_seconds() -> Problems:
    """A keep_done that is no number of seconds, so that no row would be deleted."""
    for model in task_models():
        value = of_class(model, "keep_done")
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value < float("inf")):
            yield (
                f"{model.__name__}.keep_done has to be a number of seconds, 0 or more, or None, "
                f"not {shown(value)}.",
                "Set keep_done to a number on the class, as 30 * 24 * 3600 for thirty days, or "
                "leave it out to keep all rows.",
                model,
            )


@check(id="simpletask2_celery.E017")
def proxy_queues() -> Problems:
    """A proxy_queue that is no name of a queue, so that no request would be sent."""
    for model in task_models():
        value = of_class(model, "proxy_queue")
        is_of_each_row = hasattr(type(value), "__get__")  # a property or a field
        if not (value is None or isinstance(value, str) or is_of_each_row):
            yield (
                f"{model.__name__}.proxy_queue has to be the name of a queue (str) or None, not "
                f"{shown(value)}.",
                "Set proxy_queue on the class to the queue that an egress worker serves, to "
                '"" for requests that the workers make themselves, or leave it out.',
                model,
            )


@check(id="simpletask2_celery.E009")
def channel_fields() -> Problems:
    """A channel_field that is no field of the model, so that all rows go to "default"."""
    for model in task_models():
        name = of_class(model, "channel_field")
        is_used = name and model.get_channel_name is Row.get_channel_name
        if is_used and not (isinstance(name, str) and _holds_a_value(model, name)):
            yield (
                f"{model.__name__} has channel_field = {shown(name)}, which is no field of "
                'it: the channel of its rows would be "default".',
                "Set channel_field to the name of the field that holds the channel, as a str.",
                model,
            )


@check(id="simpletask2_celery.E010")
def payloads() -> Problems:
    """A handler that cannot be called with a payload, so that each of its rows would fail."""
    for model, name in each_handler():
        if not _takes_payload(inspect.getattr_static(model, name)):
            yield (
                f"{model.__name__}.{name} cannot be called as {name}(payload): each row would "
                "fail with a TypeError.",
                f"Write it as {name}(self, payload=None), without other arguments that have no "
                "default.",
                model,
            )


@check(id="simpletask2_celery.W010")
def unused_steps() -> Problems:
    """The handler of a step above final_step, or of none, which never runs."""
    for model in _models_with_steps():
        for name in dir(model):
            match = _STEP.fullmatch(name)
            if match and not _is_step(model, name, int(match[1])):
                yield (
                    f"{model.__name__}.{name} never runs: {model.__name__} has final_step = "
                    f"{model.final_step}.",
                    "Raise final_step, or rename or remove the method.",
                    model,
                )


def leases() -> Iterator[tuple[Any, float]]:
    """Yield each model that has a number as its do_task_timeout, and that number."""
    for model in task_models():
        if isinstance(lease := of_class(model, "do_task_timeout"), (int, float)):
            yield model, lease


def _models_with_steps() -> Iterator[Any]:
    for model in task_models():
        if isinstance(of_class(model, "final_step"), int):
            yield model


def _steps() -> Iterator[tuple[Any, int]]:
    """Yield each step of each model whose final_step is a number."""
    for model in _models_with_steps():
        yield from ((model, step) for step in range(1, min(model.final_step, _MOST) + 1))


def each_handler() -> Iterator[tuple[Any, str]]:
    """Yield each model and the name of each method that runs as one of its steps."""
    for model, step in _steps():
        if steps.has_handler(model, step):
            yield model, task_info.handler(model, step)


def of_class(model: Any, name: str) -> Any:
    """Return a class's attribute, as the claim reads it; None where there is none to read."""
    try:
        return getattr(model, name, None)
    except Exception:  # of a descriptor of the project's
        return None


def shown(value: Any) -> str:
    """Return a value of a model's attribute in a few words."""
    is_plain = value is None or isinstance(value, (str, int, float))
    return f"{value!r:.60}" if is_plain else f"a {type(value).__name__}"


def _holds_a_value(model: Any, name: str) -> bool:
    """Tell whether a row has one value of this name: a field, a property, a constant."""
    try:
        field = model._meta.get_field(name)
        return bool(field.concrete and not field.many_to_many)
    except FieldDoesNotExist:
        value = inspect.getattr_static(model, name, None)
        is_method = isinstance(value, (FunctionType, classmethod, staticmethod))
        return value is not None and not is_method


def _takes_payload(handler: Any) -> bool:
    """Tell whether ``row.handler(payload)`` fits; True for what cannot be told."""
    function = getattr(handler, "__func__", handler)
    if not isinstance(function, FunctionType):
        return True
    # A decorator that takes everything passes it on; any other says itself what it takes.
    arguments = ["payload"] if isinstance(handler, staticmethod) else ["row", "payload"]
    try:
        inner = inspect.unwrap(function, stop=lambda one: not _takes_everything(one))
        signature = inspect.signature(inner, follow_wrapped=False)
        # What a decorator passes on may have more arguments, which it adds.
        (signature.bind if inner is function else signature.bind_partial)(*arguments)
    except ValueError:  # decorators that wrap each other
        return True
    except TypeError:
        return False
    return True


def _takes_everything(function: Callable[..., Any]) -> bool:
    signature = inspect.signature(function, follow_wrapped=False)
    return [one.kind for one in signature.parameters.values()] == _OPEN


def _is_step(model: Any, name: str, step: int) -> bool:
    """Tell whether a method is a step's, or of a base whose steps the model cuts short."""
    if name == task_info.handler_name(step) and 1 <= step <= model.final_step:
        return True
    home, chosen = (_home(model, one) for one in (name, "final_step"))
    return home is not chosen and issubclass(chosen, home)


def _home(model: Any, name: str) -> Any:
    return next((one for one in model.__mro__ if name in vars(one)), model)
