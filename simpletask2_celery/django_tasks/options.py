"""Retries and timeouts of function tasks: of one task, or else of its backend's OPTIONS.

The names and their meaning are those of ``DurableTask``.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TypedDict, TypeVar, Unpack

from django.utils.module_loading import import_string

from . import functions
from .api import task_backends

F = TypeVar("F")
Exceptions = tuple[type[BaseException] | str, ...]

ATTRIBUTE = "simpletask2_options"  # of a function that has options of its own


class Options(TypedDict, total=False):
    """What :func:`durable` takes. Times in seconds."""

    autoretry_for: Exceptions
    dont_autoretry_for: Exceptions
    max_retries: int | None
    default_retry_delay: float
    retry_backoff: bool | float
    retry_backoff_max: float
    retry_jitter: bool
    atomic_steps: bool
    do_task_timeout: float
    task_wait_timeout: float


class _Kind(NamedTuple):
    takes: str  # in words
    accepts: Callable[[Any], bool]


def _is_seconds(value: Any, least: float = 0) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and least <= value < timedelta.max.total_seconds()


def _are_exceptions(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and all(
        isinstance(one, str) or (isinstance(one, type) and issubclass(one, BaseException))
        for one in value
    )


_EXCEPTIONS = _Kind("a tuple of exceptions, or of their paths (str)", _are_exceptions)
_BOOL = _Kind("True or False", lambda value: isinstance(value, bool))
_SECONDS = _Kind("a number of seconds, 0 or more", _is_seconds)
_TIMEOUT = _Kind("a number of seconds, 1 or more", lambda value: _is_seconds(value, least=1))
_COUNT = _Kind("an int of 0 or more, or None", lambda value: _is_count(value) or value is None)
_BACKOFF = _Kind("True, False or a number of seconds", lambda v: _is_seconds(v) or v in (0, 1))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_KINDS = {
    "autoretry_for": _EXCEPTIONS,
    "dont_autoretry_for": _EXCEPTIONS,
    "max_retries": _COUNT,
    "default_retry_delay": _SECONDS,
    "retry_backoff": _BACKOFF,
    "retry_backoff_max": _TIMEOUT,
    "retry_jitter": _BOOL,
    "atomic_steps": _BOOL,
    "do_task_timeout": _TIMEOUT,
    "task_wait_timeout": _TIMEOUT,
}
_OF_EXCEPTIONS = ("autoretry_for", "dont_autoretry_for")
#: OPTIONS alone: rows are deleted without a look at each.
_KEEP_DONE = {
    "keep_done": _Kind("a number of seconds, or None", lambda v: v is None or _is_seconds(v))
}


def durable(**options: Unpack[Options]) -> Callable[[F], F]:
    """Give one task options of its own, which take the place of its backend's OPTIONS.

    A decorator, above or below ``@task``; it returns what it decorates. Without the backend of this
    package, the options mean nothing. Raises TypeError for other names and values.
    """
    if problems := list(_problems(options, _KINDS)):
        raise TypeError(f"durable(): {problems[0]}")

    def mark(task: F) -> F:
        function: Any = getattr(task, "func", task)
        setattr(function, ATTRIBUTE, options)
        return task

    return mark


def problems_of_backend(options: Any) -> Iterator[str]:
    """Yield what is wrong with a backend's OPTIONS, a sentence each."""
    if not isinstance(options, Mapping):
        yield f"OPTIONS is a dict, not {type(options).__name__}."
        return
    kinds = _KINDS | _KEEP_DONE
    yield from _problems(options, kinds)
    for name in _OF_EXCEPTIONS:
        paths = options.get(name, ())
        try:
            _classes(paths if _are_exceptions(paths) else ())
        except (ImportError, TypeError) as error:
            yield f"{name}: {error}."


def _problems(options: Mapping[str, Any], kinds: dict[str, _Kind]) -> Iterator[str]:
    for name, value in options.items():
        if name not in kinds:
            yield f"there is no option {name!r}; there are {', '.join(sorted(kinds))}."
        elif not kinds[name].accepts(value):
            yield f"{name} takes {kinds[name].takes}, not {value!r:.60}."


def _classes(exceptions: Exceptions) -> tuple[type[BaseException], ...]:
    found = tuple(import_string(one) if isinstance(one, str) else one for one in exceptions)
    for one in found:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise TypeError(f"{one!r} is no exception")
    return found


class Option:
    """An attribute of ``FunctionTask``: the row's option, and the default where nobody sets one.

    The class has the default alone.
    """

    def __init__(self, default: Any) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, row: Any, owner: type) -> Any:
        """Return the value: for exceptions a tuple of classes."""
        if row is None:
            return self._default
        value = self._value(row)
        return _classes(value) if self._name in _OF_EXCEPTIONS else value

    def _value(self, row: Any) -> Any:
        task = functions.find(row.task_path)
        of_task = vars(task.func).get(ATTRIBUTE, {}) if task is not None else {}
        if self._name in of_task:
            return of_task[self._name]
        return of_backend(row.backend).get(self._name, self._default)


def of_backend(alias: str) -> Mapping[str, Any]:
    """Return the OPTIONS of a backend; none where it is not in TASKS any more."""
    try:
        options: Mapping[str, Any] = task_backends[alias].options
    except Exception:  # of the settings
        return {}
    return options
