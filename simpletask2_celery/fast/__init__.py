"""Shortcuts: what Django, Celery and kombu do anew for each row, done once.

Nothing here is needed. With ``DJANGO_SIMPLETASK2_SHORTCUTS = False`` every function returns
None, and the plain path beside its call does the work. A function also returns None where
something is unusual about the model, the values, the app or the broker. Otherwise it returns
something that is ready to run; ``keep_one_client`` alone changes a kombu channel in place.
docs/evidence/performance.md says what each is worth.
- ``statements``: the claim and the saves of a run, without the ORM's compiler
- ``templates``: Celery's message of a row, made once a kind, copied, and pushed by the thousand
- ``clients``: one Redis client for all messages of a kombu channel
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from ..conf import conf
from . import clients, statements, templates

P = ParamSpec("P")
R = TypeVar("R")


def _if_wanted(shortcut: Callable[P, R]) -> Callable[P, R | None]:
    """Return the shortcut, which does nothing and returns None where the setting is off."""

    @wraps(shortcut)
    def switched(*args: P.args, **kwargs: P.kwargs) -> R | None:
        return shortcut(*args, **kwargs) if conf.shortcuts else None

    return switched


claim_of = _if_wanted(statements.claim_of)
update_of = _if_wanted(statements.update_of)
keys_of = _if_wanted(statements.keys_of)
copier = _if_wanted(templates.copier)
keep_one_client = _if_wanted(clients.keep_one)
