"""Find what was lost: reset the rows whose lease is over and publish them again.

Safe to run at any time, and twice at once: each UPDATE asks again what must still be
true. A row whose worker is alive but slower than its lease runs a second time; the
fence keeps the first run from writing.
"""

import logging
from functools import partial

from ..publishing import publisher
from ..rows import databases, resetting, retrying
from ..rows.model import Row, task_models
from . import last_reset, lost_runs
from .backlog import Backlog

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


def reset_model(model: type[Row]) -> int:
    """Reset and publish the model's stale rows in each of its databases; return their number.

    Raises what the first database that failed has raised, when the others have had their
    turn.
    """
    count = 0
    failures: list[Exception] = []
    backlog = Backlog()

    def choose(page: list[Row]) -> list[Row]:
        return lost_runs.give_up([row for row in page if not backlog.has(row)])

    for using in databases.candidates(model):
        try:
            if retrying.persist(using, partial(databases.holds, model, using)):
                for changed, rows in resetting.reset_stale(model, using, choose):
                    if changed:
                        publisher.publish_on_commit(rows, leave_out=True, using=using)
                    count += changed
        except Exception as error:  # the other databases come next
            failures.append(error)
    if failures:
        raise failures[0]
    return count
