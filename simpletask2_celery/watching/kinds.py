"""Rows of one table that are told apart by what they do: the functions of function tasks."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Min, Q

from ..rows import clock, querysets, states
from ..rows.model import Row
from . import counts
from .counts import Counts

MOST = 100  # kinds of a table that are told apart, those with most rows to do


@dataclass(frozen=True)
class Kind(Counts):
    """Rows of one kind, in all channels; ``name`` is the path of a function."""

    name: str = ""


def read(model: type[Row], using: str, size: int) -> list[Kind]:
    """Count the rows of each kind, those not DONE first; [] for a model without ``kind_field``.

    ``size`` is about how many rows the table has: of a large one, those DONE are not counted.
    """
    column: str | None = getattr(model, "kind_field", None)
    if column is None:
        return []
    now = clock.now(using)
    is_small = size <= counts.EXACT
    rows = querysets.own_rows(model, using).order_by()
    if not is_small:
        rows = rows.filter(status__lt=states.DONE)
    over = Q(status=states.DOING, auto_reset_time__lt=now)
    is_ready = Q(status=states.READY)
    found = rows.values(st2_kind=F(column)).annotate(
        st2_ready=Count("status", filter=is_ready),
        st2_doing=Count("status", filter=Q(status=states.DOING)),
        st2_stale=Count("status", filter=over),
        st2_done=Count("status", filter=Q(status=states.DONE)),
        st2_failed=Count("status", filter=Q(status=states.DONE, success=False)),
        st2_oldest=Min("add_time", filter=is_ready & ~counts.is_scheduled(now)),
        st2_retrying=Count("status", filter=is_ready & counts.is_retrying()),
        st2_scheduled=Count("status", filter=is_ready & counts.is_scheduled(now)),
    )
    to_do = F("st2_ready") + F("st2_doing")
    return [_kind(group, now, is_small) for group in found.order_by(-to_do, "-st2_done")[:MOST]]


def _kind(group: dict[str, Any], now: Any, is_small: bool) -> Kind:
    oldest = group["st2_oldest"]
    return Kind(
        channel=None,
        name=group["st2_kind"],
        ready=group["st2_ready"],
        doing=group["st2_doing"],
        stale=group["st2_stale"],
        retrying=group["st2_retrying"],
        scheduled=group["st2_scheduled"],
        done=group["st2_done"] if is_small else None,
        failed=group["st2_failed"] if is_small else None,
        oldest_ready_seconds=None if oldest is None else max((now - oldest).total_seconds(), 0.0),
    )
