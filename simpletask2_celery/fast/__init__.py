"""Shortcuts: what Django, Celery and kombu do anew for each row, done once.

Nothing here is needed: with ``DJANGO_SIMPLETASK2_SHORTCUTS = False`` every function says no,
and the plain path beside its call does the work. Each returns a function that is ready to run,
or None where something is unusual about the model, the values, the app or the broker. What
each is worth is in docs/evidence/performance.md.

- ``statements``: the claim and the saves of a run, without the ORM's compiler
- ``templates``: Celery's message of a row, made once a kind and copied
- ``pushes``: many such messages in one command of Redis
- ``clients``: one Redis client for all messages of a channel
"""

from collections.abc import Callable
from typing import Any

from django.db.models import Q

from ..conf import conf
from . import clients, statements, templates


def claim_of(
    model: Any, using: str, where: dict[str, Any], values: dict[str, Any], token: str
) -> Callable[[], Any] | None:
    """Return what updates a row and loads it by one statement; see ``statements``."""
    return statements.claim_of(model, using, where, values, token) if conf.shortcuts else None


def update_of(row: Any, fence: Any, base: type) -> Callable[[], list[Any] | None] | None:
    """Return what saves what a run has changed of its row; see ``statements``."""
    return statements.update_of(row, fence, base) if conf.shortcuts else None


def keys_of(model: Any, using: str, keys: list[Any]) -> Q | None:
    """Return the condition that a row's key is one of many; see ``statements``."""
    return statements.keys_of(model, using, keys) if conf.shortcuts else None


def copier(
    producer: Any, name: str, options: dict[str, Any], make: templates.Make
) -> templates.Copier | None:
    """Return what sends copies of the messages that ``make`` makes; see ``templates``."""
    return templates.copier(producer, name, options, make) if conf.shortcuts else None


def keep_one_client(channel: Any) -> None:
    """Have a channel of Redis keep one client for all its messages; see ``clients``."""
    if conf.shortcuts:
        clients.keep_one(channel)
