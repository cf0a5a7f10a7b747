"""A check is a generator: it yields ``(message, hint)`` or ``(message, hint, model)``."""

from collections.abc import Callable, Iterator
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from ..conf import all_settings

Problems = Iterator[tuple[Any, ...]]
Check = Callable[..., list[checks.CheckMessage]]

#: Each check, and whether it is one of security, which only ``check --deploy`` runs.
_checks: list[tuple[Check, bool]] = []


def register() -> None:
    """Register all checks with Django."""
    for one, deploy in _checks:
        tag = "security" if deploy else "simpletask2_celery"
        checks.register(one, tag, deploy=deploy)


def check(id: str, deploy: bool = False) -> Callable[[Callable[[], Problems]], Check]:
    """Make a check of a function that yields problems; its id says error or warning."""
    kind = checks.Error if ".E" in id else checks.Warning

    def make(problems: Callable[[], Problems]) -> Check:
        def run(**kwargs: Any) -> list[checks.CheckMessage]:
            try:
                return [
                    kind(message, hint, model[0] if model else None, id)
                    for message, hint, *model in problems()
                ]
            except ImproperlyConfigured:
                if any(one.problem() for one in all_settings()):  # E002 says what is wrong
                    return []
                raise

        run.__name__ = problems.__name__
        run.__doc__ = problems.__doc__
        _checks.append((run, deploy))
        return run

    return make
