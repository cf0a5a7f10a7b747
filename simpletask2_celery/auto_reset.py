"""Find what was lost: reset the rows whose lease is over and publish them again.

Safe to run at any time, and twice at once: each UPDATE asks again what must still be
true. A row whose worker is alive but slower than its lease runs a second time; the
fence keeps the first run from writing.
"""

import logging

from celery import Celery, _state
from django.apps import apps
from django.db import DatabaseError

from .conf import conf
from .models import SimpleTask

logger = logging.getLogger(__name__)

TASK = "simpletask2_celery.do_auto_reset"
ENTRY = "simpletask2-auto-reset"


def run() -> dict[str, int]:
    """Reset every model's rows in every database; return {"app.model": number}.

    A table that fails is logged and does not keep the others from their reset.
    """
    counts = {}
    for model in task_models():
        name = model._meta.label_lower
        try:
            counts[name] = model.do_auto_reset()
        except DatabaseError:
            logger.exception("Auto-reset of %s failed; the next run tries again.", name)
    return counts


def task_models() -> list[type[SimpleTask]]:
    """Return the models that have rows: neither abstract nor proxies."""
    return [
        model
        for model in apps.get_models()
        if issubclass(model, SimpleTask) and not model._meta.proxy
    ]


def schedule() -> None:
    """Add the reset to beat's schedule of every app, now or when it is finalized."""
    _state.connect_on_app_finalize(_add_entry)
    for app in _state._get_active_apps():
        if app.finalized:
            _add_entry(app)


def _add_entry(app: Celery) -> None:
    # Changed in place, as Celery's own add_periodic_task does: an assignment would hide
    # behind a schedule from Django's settings.
    existing = app.conf.beat_schedule
    if not conf.do_auto_reset or ENTRY in existing:
        return
    interval = conf.auto_reset_interval
    existing[ENTRY] = {
        "task": TASK,
        "schedule": interval,
        # While no worker runs, resets must not pile up.
        "options": {"expires": interval * 0.9},
    }
