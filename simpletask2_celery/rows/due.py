"""When a READY row is due, who keeps that time, and when auto-reset looks at the row.

A message with a time is held by a worker, which forgets it when it dies, and by Redis no longer
than its visibility timeout ("Visibility timeout" of Celery's documentation). So a time further
ahead than ``SOON`` is kept by the row alone: auto-reset publishes it when it is due.
"""

import datetime
from typing import Any

from celery import current_app
from django.db.models import Q
from django.utils import timezone

from ..conf import conf
from . import clock
from .values import is_expression

SOON = 15 * 60.0  # seconds ahead for which a message carries the time


def after(row: Any) -> datetime.datetime | None:
    """Return the time in the future before which a durable row must not run, as columns have it.

    None where it may run now, and where the database computes the time. Raises ValidationError
    for what is no time.
    """
    if not row._is_durable or row.run_after is None or is_expression(row.run_after):
        return None
    moment = clock.stored(row._meta.get_field("run_after").to_python(row.run_after))
    return moment if moment > timezone.now() else None


def is_kept_by_row(moment: datetime.datetime) -> bool:
    """Tell whether no message carries this time, because it is too far ahead."""
    return not current_app.conf.task_always_eager and _is_far(moment)  # where Celery does not wait


def look(row: Any, moment: datetime.datetime | None = None) -> datetime.datetime:
    """Return when auto-reset looks at a READY row that runs at ``moment``, or as it says."""
    moment = moment or after(row)
    if moment is not None and _is_far(moment):
        return moment
    return clock.after(moment or timezone.now(), row.get_task_wait_timeout())


def waits_unpublished(row: Any) -> bool:
    """Tell whether the row alone has kept its time: no message of it is in a queue."""
    kept = row.run_after if row._is_durable else None
    return row.auto_reset_time is not None and row.auto_reset_time in (kept, row.start_time)


def columns(model: Any, now: datetime.datetime) -> dict[str, datetime.datetime]:
    """Return the columns that must be empty, or not after a time, for a row to run ``now``."""
    return {"run_after": now} if model._is_durable else {}


def is_due(model: Any, now: datetime.datetime) -> Q:
    """Return what is true of the rows that may run ``now``."""
    return not_after(columns(model, now))


def not_after(limits: dict[str, datetime.datetime]) -> Q:
    """Return what is true of rows whose columns are empty, or not after their limits."""
    due = Q()
    for column, limit in limits.items():
        due &= Q(**{column: None}) | Q(**{f"{column}__lte": limit})
    return due


def _is_far(moment: datetime.datetime) -> bool:
    """Tell whether a time is further ahead than a message carries it; the lists carry none."""
    ahead = 0.0 if conf.publish_to == "redis" else SOON
    return (moment - timezone.now()).total_seconds() > ahead
