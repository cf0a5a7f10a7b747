"""Beat's entries for reset and prune, in the schedule of every app that has none of its own."""

from contextlib import suppress
from typing import Any

from celery import Celery, _state
from django.core.exceptions import ImproperlyConfigured

from ..conf import conf

DO_AUTO_RESET = "simpletask2_celery.do_auto_reset"
ENTRY = "simpletask2-auto-reset"
DO_PRUNE = "simpletask2_celery.do_prune"
PRUNE_ENTRY = "simpletask2-prune"
#: Key of an app's configuration: False where a configuration file wants no entry.
WANTED = "simpletask2_do_auto_reset"


def entry(interval: float, queue: str | None = None, task: str = DO_AUTO_RESET) -> dict[str, Any]:
    """Return an entry that sends the reset, or another ``task``, every ``interval`` seconds."""
    # While no worker runs, resets must not pile up.
    options: dict[str, Any] = {"expires": interval * 0.9}
    if queue is not None:
        options["queue"] = queue
    return {"task": task, "schedule": interval, "options": options}


def add_entries() -> None:
    """Add the entries to beat's schedule of every app, now or when it is finalized."""
    _state.connect_on_app_finalize(_add_to)
    for app in _state._get_active_apps():
        if app.finalized:
            _add_to(app)


def is_wanted(app: Celery) -> bool:
    """Tell whether this app's processes are to see to the reset."""
    return bool(app.conf.get(WANTED, conf.do_auto_reset))


def _add_to(app: Celery) -> None:
    from . import pruning  # of models, which a project's Celery file has not loaded yet

    # In place, as Celery's own add_periodic_task does: a schedule from Django's settings
    # would hide one that is assigned.
    existing = app.conf.beat_schedule
    with suppress(ImproperlyConfigured):  # of a setting that a check names
        if not is_wanted(app):
            return
        if ENTRY not in existing:
            existing[ENTRY] = entry(conf.auto_reset_interval)
        if PRUNE_ENTRY not in existing and any(pruning.keeping()):
            existing[PRUNE_ENTRY] = entry(pruning.INTERVAL, _queue_of(existing[ENTRY]), DO_PRUNE)


def _queue_of(reset: Any) -> str | None:
    """Return the queue that the reset's entry names: some worker serves it."""
    options = reset.get("options") if isinstance(reset, dict) else None
    return (options or {}).get("queue")
