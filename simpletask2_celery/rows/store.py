"""The writes of one row: by Django's ORM, or by a shortcut that does the same faster."""

import datetime
from collections.abc import Callable
from typing import Any

from django.db import OperationalError, connections, models, transaction

from .. import exceptions, fast
from . import due, querysets, retrying, task_info, transactions
from .fence import Fence
from .model import Row
from .values import PLAIN


def claim(
    model: Any,
    using: str,
    where: dict[str, Any],
    values: dict[str, Any],
    not_after: dict[str, datetime.datetime],
) -> Any:
    """Write ``values`` to the row of which ``where`` is true, and load it.

    The columns of ``not_after`` must be empty, or not after its times. Returns None where there is
    no such row, and where somebody's transaction has locked it.
    """
    shortcut = fast.claim_of(model, using, where, values, not_after, token="start_time")
    if shortcut is None:
        free = querysets.owned(model, using).filter(due.not_after(not_after), **where)
        is_claimed = _update_at_once(free, values)
        return querysets.load(model, using, where["pk"]) if is_claimed else None
    try:
        return shortcut()
    except OperationalError as error:
        if retrying.is_of_a_lock(error):
            return None
        raise


def save_in_run(row: Any, fence: Fence) -> None:
    """Save what a run has changed of its row. Raises ClaimLost."""
    with transaction.mark_for_rollback_on_error(fence.using):
        shortcut = fast.update_of(row, fence, Row)
        if shortcut is None:
            row.save()
            return
        written = shortcut()
    if written is None:
        raise exceptions.claim_lost(task_info.text(type(row), fence.pk))
    fence.remember_loaded(row, written)


def update(rows: models.QuerySet[Any], values: dict[str, Any], wait: bool) -> int:
    """Update the rows and return their number; without ``wait``, leave out locked ones.

    A live handler may hold the row's lock in a transaction. Waiting for it would delay other
    renewals, and a reset would then steal its claim. Where the database cannot skip locked rows,
    this waits.
    """
    features = connections[rows.db].features
    manager = rows.model._base_manager
    is_lockable = type(manager) is models.Manager and features.has_select_for_update_skip_locked
    if wait or not is_lockable:
        return rows.update(**values)
    free = rows.select_for_update(skip_locked=True, no_key=features.has_select_for_no_key_update)
    with transaction.atomic(rows.db):  # the locks keep true what was true
        # Not by a subquery: PostgreSQL may join it with the whole table, and MySQL waits.
        keys = with_key(rows.model, rows.db, list(free.values_list("pk", flat=True)))
        count: int = manager.using(rows.db).filter(keys).update(**values)
        return count


def with_key(model: type[models.Model], using: str, keys: list[Any]) -> models.Q:
    """Return the condition that a row's key is one of many."""
    return fast.keys_of(model, using, keys) or models.Q(pk__in=keys)


def persist(
    model: Any, using: str, pk: Any, values: dict[str, Any], attempt: Callable[[], int]
) -> bool:
    """Attempt an UPDATE of one row until it is answered; tell whether the row has ``values``."""
    return bool(retrying.persist(using, attempt, lambda: landed(model, using, pk, values)))


def landed(model: type[models.Model], using: str, pk: Any, values: dict[str, Any]) -> bool:
    """Tell whether a row has the values of a write whose answer was lost.

    What the database has computed, and JSON, are not compared. Its times are of this process and of
    this microsecond. Columns that an old MySQL schema made have whole seconds: there a write counts
    as lost, and the lease decides.
    """
    plain = {name: value for name, value in values.items() if isinstance(value, PLAIN)}
    return bool(querysets.owned(model, using).filter(pk=pk, **plain).exists())


def is_written(stored: Any, value: Any) -> bool:
    """Tell whether a column holds a value; an old schema of MySQL has rounded its seconds."""
    if stored is None or stored == value or not isinstance(value, datetime.datetime):
        return bool(stored == value)
    seconds: float = abs((stored - value).total_seconds())
    return seconds <= 1 and not stored.microsecond


def _update_at_once(row: models.QuerySet[Any], values: dict[str, Any]) -> int:
    """Update one row unless it is locked: MariaDB does that by one statement."""
    connection: Any = connections[row.db]
    if not getattr(connection, "mysql_is_mariadb", False):
        return update(row, values, wait=False)
    try:
        with transactions.savepoint(row.db), connection.execute_wrapper(_without_waiting):
            return row.update(**values)
    except OperationalError as error:
        if not retrying.is_of_a_lock(error):
            raise
        return 0


def _without_waiting(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
    return execute(f"SET STATEMENT innodb_lock_wait_timeout=0 FOR {sql}", *rest)
