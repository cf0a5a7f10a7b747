"""A check is a generator: it yields ``(message, hint)`` or ``(message, hint, model)``."""

from collections.abc import Callable, Iterator
from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from ..conf import all_settings

Problems = Iterator[tuple[Any, ...]]
Check = Callable[..., list[checks.CheckMessage]]

#: Each check, its tag, and whether only ``check --deploy`` runs it.
_checks: list[tuple[Check, str, bool]] = []


def register() -> None:
    """Register all checks with Django."""
    for one, tag, deploy in _checks:
        checks.register(one, tag, deploy=deploy)


def check(
    id: str, deploy: bool = False, asks_databases: bool = False
) -> Callable[[Callable[..., Problems]], Check]:
    """Make a check of a function that yields problems; its id says error or warning.

    With ``deploy`` it is one of security, which ``check --deploy`` runs alone. One that
    ``asks_databases`` is given the aliases that ``migrate`` and ``check --database`` name; others
    do not run it.
    """
    kind = checks.Error if ".E" in id else checks.Warning
    tag = checks.Tags.database if asks_databases else "simpletask2_celery"

    def make(problems: Callable[..., Problems]) -> Check:
        def run(databases: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
            arguments = [list(databases or ())] if asks_databases else []
            try:
                return [
                    kind(message, hint, model[0] if model else None, id)
                    for message, hint, *model in problems(*arguments)
                ]
            except ImproperlyConfigured:
                if any(one.problem() for one in all_settings()):  # E002 says what is wrong
                    return []
                raise

        run.__name__ = problems.__name__
        run.__doc__ = problems.__doc__
        _checks.append((run, "security" if deploy else tag, deploy))
        return run

    return make
