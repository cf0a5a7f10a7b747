"""Find what was lost: reset the rows whose lease is over and publish them again.

Safe to run at any time, and twice at once: each UPDATE asks again what must still be
true. A row whose worker is alive but slower than its lease runs a second time; the
fence keeps the first run from writing.
"""

import logging

from django.apps import apps

from . import last_reset
from .models import SimpleTask

logger = logging.getLogger(__name__)


class AutoResetFailed(RuntimeError):
    """Some tables could not be reset; the others were. Its text names them."""


def run() -> dict[str, int]:
    """Reset every model's rows in every database; return {"app.model": number}.

    A table that fails does not keep the others from their reset: it is logged, and
    AutoResetFailed raised when all have had their turn. Such a reset does not count as
    one that ran, for whoever asks when the last one was.
    """
    counts, failures = {}, {}
    for model in task_models():
        name = model._meta.label_lower
        try:
            counts[name] = model.do_auto_reset()
        except Exception as error:
            logger.exception("Auto-reset of %s failed; the next run tries again.", name)
            failures[name] = type(error).__name__
    if failures:
        text = ", ".join(f"{name} ({kind})" for name, kind in failures.items())
        raise AutoResetFailed(f"Auto-reset failed: {text}; the others were reset.")
    last_reset.note()
    return counts


def task_models() -> list[type[SimpleTask]]:
    """Return the models that have rows: neither abstract nor proxies."""
    return [
        model
        for model in apps.get_models()
        if issubclass(model, SimpleTask) and not model._meta.proxy
    ]
