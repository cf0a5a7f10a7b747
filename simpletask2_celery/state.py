"""The transitions of a row, each one UPDATE whose WHERE says what must still be true.

Claim, step, finish, failure and reset. What a transition writes comes from one
method of the model each (``_claim_values`` …); when it may be written is decided
here. Handlers run at least once: after a crash a row is reset and runs again.
"""

import datetime
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from celery.exceptions import SoftTimeLimitExceeded
from django.apps import apps
from django.db import (
    Error,
    OperationalError,
    connections,
    models,
    transaction,
)
from django.db.models import Exists, OuterRef, Q

from . import (
    clock,
    exceptions,
    interruptions,
    retrying,
    savepoint,
    signals,
    statements,
    task_info,
)
from .fence import STATE_FIELDS, Fence

if TYPE_CHECKING:
    from .models import SimpleTask

logger = logging.getLogger(__name__)

READY, DOING, DONE = 10, 20, 30
PAGE = 1000  # rows of one UPDATE of a reset; no lock is held longer than that
RESERVED = 10.0  # seconds that a row handed out over HTTP is handed to nobody else
LOCKED = 0.2  # seconds that a claim looks again at a row that a transaction has locked
LOOK = 0.05  # seconds between two such looks
#: Fields whose values are short: all others are read where they are asked for.
_SMALL = (
    models.BooleanField,
    models.DateField,
    models.DecimalField,
    models.DurationField,
    models.FloatField,
    models.ForeignKey,
    models.GenericIPAddressField,
    models.IntegerField,
    models.TimeField,
    models.UUIDField,
)
#: Seconds that a run tries to write its row: its handler would have worked for nothing.
RUN_PATIENCE = 60.0


def claim(
    model: "type[SimpleTask]", using: str, pk: Any, force: bool = False
) -> "SimpleTask":
    """Claim the row and load it: of any number of callers, one gets it.

    Raises DjangoSimpleTask2Error 2910004, 2910008, 2910013 or 2910015 for the
    others (compatibility facts, section 5); with ``force``, only 2910004.
    """
    now = clock.now(using)
    try:
        return _claim(model, using, pk, force, now)
    except (exceptions.DjangoSimpleTask2Error, Error):
        raise
    except BaseException as error:  # of a field, a manager or a method of the user's
        if interruptions.is_interruption(error):
            raise
        if not _end_unloaded(model, using, pk, now, error):
            raise
        raise exceptions.handler_failed(task_info.text(model, pk), 1, error) from error


def _claim(
    model: "type[SimpleTask]", using: str, pk: Any, force: bool, now: datetime.datetime
) -> "SimpleTask":
    values = model._claim_values(now)
    end = time.monotonic() + LOCKED
    while (row := _claim_once(model, using, pk, force, values)) is None:
        why = why_not(model, using, pk, force)
        if not isinstance(why, exceptions.RowLocked) or time.monotonic() > end:
            raise why
        time.sleep(LOOK)
    if not _is_token(row.start_time, now):  # reset and claimed again, since
        raise exceptions.error(exceptions.CLAIMED, task_info=row.get_task_info())
    row._fence = Fence.around(row, using, DOING)
    _correct_lease(row, now)
    return row


def _end_unloaded(
    model: "type[SimpleTask]",
    using: str,
    pk: Any,
    now: datetime.datetime,
    error: BaseException,
) -> bool:
    """Fail a row that was claimed and cannot be loaded; False if it was not claimed."""
    mine = owned(model, using).filter(pk=pk, status=DOING, start_time=now)
    values = {**model._failure_values(clock.now(using), error), "mod_time": now}
    return retrying.persist(
        using,
        lambda: bool(mine.update(**values)),
        lambda: _landed(model, using, pk, values),
    )


def _claim_once(
    model: "type[SimpleTask]", using: str, pk: Any, force: bool, values: dict[str, Any]
) -> "SimpleTask | None":
    """Claim the row and load it; None where it is not READY, or locked."""

    def landed() -> "SimpleTask | None":
        return _load(model, using, pk) if _landed(model, using, pk, values) else None

    return retrying.persist(
        using, lambda: _claimed(model, using, pk, force, values), landed
    )


def _claimed(
    model: "type[SimpleTask]", using: str, pk: Any, force: bool, values: dict[str, Any]
) -> "SimpleTask | None":
    if statements.can_return(model, using):
        where = {"pk": pk, **({} if force else {"status": READY})}
        claimed: SimpleTask | None = None
        try:
            claimed = statements.update_and_load(
                model, using, where, values, token="start_time"
            )
        except OperationalError as error:
            if not retrying.is_of_a_lock(error):
                raise
        return claimed
    waiting = Q() if force else Q(status=READY)
    free = owned(model, using).filter(waiting, pk=pk)
    return _load(model, using, pk) if _update_at_once(free, values) else None


def _load(model: "type[SimpleTask]", using: str, pk: Any) -> "SimpleTask | None":
    return model._base_manager.using(using).filter(pk=pk).first()


def _landed(model: type[models.Model], using: str, pk: Any, values: dict[str, Any]) -> bool:
    """Tell whether a row has the values of a write whose answer was lost.

    Its times are of this process and of this microsecond. Columns that an old MySQL
    schema made have whole seconds: there a write counts as lost, and the lease decides.
    """
    return bool(owned(model, using).filter(pk=pk, **values).exists())


def unreserved(model: "type[SimpleTask]", using: str) -> "models.QuerySet[SimpleTask]":
    """Return the READY rows that nobody has reserved."""
    return _own_rows(model, using).filter(_free(using), status=READY)


def reserve(model: "type[SimpleTask]", using: str, pk: Any) -> bool:
    """Reserve a READY row for one caller, who is about to claim it; False if it is not.

    For ten seconds no other caller gets it. A READY row has no ``start_time``
    otherwise, so that the column can hold the time of the reservation: any claim
    and any reset writes over it, and no claim minds it.
    """
    values = {"start_time": clock.now(using)}
    waiting = owned(model, using).filter(_free(using), pk=pk, status=READY)
    return retrying.persist(
        using,
        lambda: bool(_update(waiting, values, wait=False)),
        lambda: _landed(model, using, pk, {"status": READY, **values}),
    )


def _free(using: str) -> Q:
    over = clock.now(using) - datetime.timedelta(seconds=RESERVED)
    return Q(start_time=None) | Q(start_time__lt=over)


def take_step(model: "type[SimpleTask]", using: str, pk: Any, step: int) -> "SimpleTask":
    """Start step ``step`` > 1 of a row that no claim travels with, and load it.

    Whether the step before has come to its end nothing tells: whoever drives the steps
    waits for its answer. Raises 2910013 where that step runs or has run, 2910014 where
    the row has been reset since (compatibility facts, section 3).
    """
    values = model._step_values(step, clock.now(using))
    before = owned(model, using).filter(pk=pk, status=DOING, current_step=step - 1)
    if not retrying.persist(
        using,
        lambda: before.update(**values),
        lambda: _landed(model, using, pk, {"status": DOING, **values}),
    ):
        raise _why_no_step(model, using, pk, step)
    row = _load(model, using, pk)
    if row is None:
        raise _why_no_step(model, using, pk, step)
    row._fence = Fence.around(row, using, DOING)
    return row


def start_step(row: "SimpleTask", step: int) -> None:
    """Write that ``step`` starts, and what the handler before it changed."""
    _write(row, row._step_values(step, _now(row)), exceptions.STEP_NOT_SAVED)
    _tell_step_ended(row)


def end_step(row: "SimpleTask") -> None:
    """Write what the handler changed: whoever drives the steps starts the next one."""
    save_step(row)
    _tell_step_ended(row)


def save_step(row: "SimpleTask") -> None:
    """Write what the handler changed, before the time that a proxy step takes."""
    _write(row, {}, exceptions.STEP_NOT_SAVED)


def finish(row: "SimpleTask") -> None:
    """Write that the run succeeded. Raises 2910010 where it has lost its claim."""
    _write(row, row._finish_values(_now(row)), exceptions.FINISH_NOT_SAVED)
    _tell_ended(row)


def fail(row: "SimpleTask", error: BaseException) -> None:
    """Write that a handler raised. Raises 2910010 where the claim is lost.

    What the handler left in the row's fields is saved if it can be; the row ends anyway.
    But where a query of the handler's has failed with the session to the row's database,
    the run is lost with it, and not the row: it runs again when its lease is over.
    """
    if _is_lost_with_its_session(row, error):
        name = task_info.text(type(row), row.pk)
        reason = exceptions.in_words(error)
        raise exceptions.error(exceptions.FINISH_NOT_SAVED, task_info=name, error=reason)
    row = own_row(row)
    now = _now(row)
    values = row._failure_values(now, error)
    try:
        _write(row, values, exceptions.FINISH_NOT_SAVED)
    except exceptions.DjangoSimpleTask2Error as unsaved:
        if not _write_alone(row, {**values, "mod_time": now}):
            raise
        row._hold(values)
        name = task_info.text(type(row), row.pk)
        logger.warning("%s has failed, and saved no more than that: %s", name, unsaved)
    _tell_ended(row, error)


def _is_lost_with_its_session(row: "SimpleTask", error: BaseException) -> bool:
    """Tell whether an error, or what it was raised for, has cut the row's own session."""
    using = row._fence.using if row._fence else str(row._state.db)
    if connections[using].in_atomic_block:
        return False
    cause: BaseException | None = error
    while cause is not None:
        if retrying.fault_of(using, cause) is retrying.Fault.LOST:
            return not retrying.answers(using)
        cause = cause.__cause__ or cause.__context__
    return False


def _tell_ended(row: "SimpleTask", error: BaseException | None = None) -> None:
    """Take the fence away, for receivers may save the row, and tell of its end."""
    fence, row._fence = row._fence, None
    signals.step_ended(row, fence.ended if fence else None)
    signals.finished(row, error)


def has_claim(row: "SimpleTask") -> bool:
    """Tell whether the run has its claim still."""
    return row._fence is not None and _held_by(row._fence, row).exists()


def renew(row: "SimpleTask") -> bool:
    """Begin the lease of a live run anew; False if it has lost its claim."""
    fence = row._fence
    if fence is None:
        return False
    mine = _held_by(fence, row)
    values = {"auto_reset_time": clock.after(_now(row), row.get_do_task_timeout())}
    return bool(retrying.persist(mine.db, lambda: _update(mine, values, wait=False)))


def _update(rows: "models.QuerySet[Any]", values: dict[str, Any], wait: bool) -> int:
    """Update the rows; without ``wait``, where the database can tell, unlocked ones only.

    A handler in a transaction may have locked its row, and lives: to wait for it would
    keep others from their renewal, and a reset would take its claim when it commits.
    """
    features = connections[rows.db].features
    plain = type(rows.model._base_manager) is models.Manager  # or it may not be locked
    if wait or not (plain and features.has_select_for_update_skip_locked):
        return rows.update(**values)
    free = rows.select_for_update(
        skip_locked=True, no_key=features.has_select_for_no_key_update
    )
    with transaction.atomic(rows.db):  # the locks keep true what was true
        # Not by a subquery: PostgreSQL may join it with the whole table, and MySQL waits.
        keys = statements.has_key(
            rows.model, rows.db, list(free.values_list("pk", flat=True))
        )
        count: int = rows.model._base_manager.using(rows.db).filter(keys).update(**values)
        return count


def _update_at_once(row: "models.QuerySet[Any]", values: dict[str, Any]) -> int:
    """Update one row unless it is locked: MariaDB does that by one statement."""
    connection: Any = connections[row.db]
    if not getattr(connection, "mysql_is_mariadb", False):
        return _update(row, values, wait=False)
    try:
        with savepoint.around(row.db), connection.execute_wrapper(_without_waiting):
            return row.update(**values)
    except OperationalError as error:
        if not retrying.is_of_a_lock(error):
            raise
        return 0


def _without_waiting(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
    return execute(f"SET STATEMENT innodb_lock_wait_timeout=0 FOR {sql}", *rest)


def release(row: "SimpleTask") -> bool:
    """Make a row READY whose run, as the row was loaded, is known to be lost.

    False if the row has been reset, claimed again, renewed or done since.
    """
    values = row._reset_values(_now(row), row.get_task_wait_timeout())
    released = _end_lost(row, values, wait=True)
    if released:
        signals.reset([row], signals.RUN_LOST)
    return released


def give_up(row: "SimpleTask", error: BaseException, wait: bool) -> bool:
    """Make a row DONE and unsuccessful whose run, as it was loaded, is known to be lost.

    False if the row has been reset, claimed again, renewed or done since; without
    ``wait``, also where a transaction has locked it.
    """
    now = _now(row)
    values = {**row._failure_values(now, error), "mod_time": now}
    given_up = _end_lost(row, values, wait)
    if given_up:
        row._hold(values)
        signals.finished(row, error)
    return given_up


def end_open(
    model: "type[SimpleTask]", using: str, pks: list[Any], values: dict[str, Any]
) -> int:
    """Write ``values`` to those of the rows that are not DONE; return their number.

    Takes the claim from a run under way: its row is not DOING any more.
    """
    rows = owned(model, using).filter(pk__in=pks).exclude(status=DONE)
    return retrying.persist(using, lambda: rows.update(**values))


def _end_lost(row: "SimpleTask", values: dict[str, Any], wait: bool) -> bool:
    using = str(row._state.db)
    lost = _held_by(Fence(row.pk, row.start_time, DOING, using), row)
    mine = lost.filter(auto_reset_time=row.auto_reset_time)
    return retrying.persist(
        mine.db,
        lambda: bool(_update(mine, values, wait)),
        lambda: _landed(type(row), mine.db, row.pk, values),
    )


def light(rows: "models.QuerySet[Any]") -> "models.QuerySet[Any]":
    """Return the same rows without their payload, which is read where it is asked for.

    A thousand rows take as much memory whatever they carry, and a value that cannot be
    read keeps no other row from being found.
    """
    model: type[models.Model] = rows.model
    heavy = _heavy_fields(model)
    return rows.defer(*heavy) if heavy else rows


@cache
def _heavy_fields(model: type[models.Model]) -> list[str]:
    return [
        column.name
        for column in model._meta.concrete_fields
        if not (column.primary_key or column.attname in STATE_FIELDS or _is_small(column))
    ]


def _is_small(column: Any) -> bool:
    if hasattr(column, "from_db_value"):  # which may fail
        return False
    if isinstance(column, models.CharField):
        return (column.max_length or PAGE) < PAGE
    return isinstance(column, _SMALL)


def pages(rows: "models.QuerySet[Any]", size: int | None = None) -> "Iterator[list[Any]]":
    """Yield rows a page at a time by key; those that leave the filter do no harm.

    One that cannot be loaded is logged, and left out.
    """
    size = size or page_size(rows.model)
    rows = light(rows.order_by("pk"))
    rest = rows
    while found := retrying.persist(rows.db, partial(_load_page, rest, size)):
        page, last = found
        yield page
        rest = rows.filter(pk__gt=last)


def _load_page(rows: "models.QuerySet[Any]", size: int) -> tuple[list[Any], Any] | None:
    """Return a page of rows and the key of its last; None where there are none."""
    try:
        page = list(rows[:size])
    except Error:
        raise
    except Exception:  # of one row
        keys = list(rows.values_list("pk", flat=True)[:size])
        page = [row for key in keys if (row := _load_or_log(rows, key)) is not None]
        return page, keys[-1]
    return (page, page[-1].pk) if page else None


def _load_or_log(rows: "models.QuerySet[Any]", key: Any) -> Any:
    try:
        return rows.filter(pk=key).first()
    except Error:
        raise
    except Exception as error:
        log_left_out(rows.model, key, error)
        return None


def log_left_out(model: type[models.Model], key: Any, error: Exception) -> None:
    """Say that a row is left out of what is done with many."""
    name = task_info.text(model, key)
    text = exceptions.in_words(error)
    logger.error("%s is left out: %s", name, text, extra={"task_info": name})


def page_size(model: type[models.Model]) -> int:
    """Return how many rows of the model one statement may name by their keys.

    SQLite takes no long condition of composite keys.
    """
    return PAGE if len(model._meta.pk_fields) == 1 else PAGE // 4


def reset_pages(
    rows: "models.QuerySet[SimpleTask]",
    still: Q,
    choose: "Callable[[list[SimpleTask]], list[SimpleTask]]" = list,
    wait: bool = True,
    reason: str = signals.OPERATOR,
) -> "Iterator[tuple[int, list[SimpleTask]]]":
    """Reset rows a page at a time; yield (number reset, rows to publish) of each.

    ``choose`` is given a page and returns the rows of it to reset. Without ``wait``, rows
    that a transaction has locked are left alone.
    ``still`` is what must be true of a row, and the UPDATE of a page asks it again:
    a row that finished meanwhile is left alone. It may be among those to publish,
    which does nothing to it.
    """
    model, using = rows.model, rows.db
    for page in pages(rows.filter(still)):
        now = clock.now(using)
        for seconds, group in _by_wait(page, choose).items():
            keys = statements.has_key(model, using, [row.pk for row in group])
            mine = owned(model, using).filter(still, keys)
            values = model._reset_values(now, seconds)
            changed = _reset_page(mine, values, wait, keys)
            if signals.is_wanted(signals.task_reset, model):
                signals.reset(_were_reset(group, using, changed, values), reason)
            yield changed, group


def _by_wait(
    page: "list[SimpleTask]", choose: "Callable[[list[SimpleTask]], list[SimpleTask]]"
) -> "dict[int, list[SimpleTask]]":
    """Return the rows to reset by the seconds that they wait then.

    Of a page that fails each row is asked by itself: a method of one row's may raise.
    """
    by_wait: dict[int, list[SimpleTask]] = {}
    try:
        for row in choose(page):
            by_wait.setdefault(row.get_task_wait_timeout(), []).append(row)
    except Error:
        raise
    except Exception as error:
        if len(page) == 1:
            log_left_out(type(page[0]), page[0].pk, error)
            return {}
        by_wait = {}
        for row in page:
            for seconds, rows in _by_wait([row], choose).items():
                by_wait.setdefault(seconds, []).extend(rows)
    return by_wait


def _reset_page(
    rows: "models.QuerySet[Any]", values: dict[str, Any], wait: bool, keys: Q
) -> int:
    """Reset rows, whose keys are ``keys``; return their number."""

    def landed() -> int:
        lease = values["auto_reset_time"]
        ready = owned(rows.model, rows.db).filter(keys, status=READY, auto_reset_time=lease)
        return ready.count()

    return retrying.persist(rows.db, lambda: _update(rows, values, wait), landed)


def _were_reset(
    page: "list[SimpleTask]", using: str, changed: int, values: dict[str, Any]
) -> "list[SimpleTask]":
    """Return those rows of a page that an UPDATE has changed: all, but for a race."""
    if changed == len(page) or not changed:
        return page[:changed]
    ready = owned(type(page[0]), using).filter(pk__in=[row.pk for row in page])
    found = ready.filter(status=READY).values_list("pk", "auto_reset_time")
    lease = values["auto_reset_time"]
    mine = {pk for pk, until in found if _is_token(until, lease)}
    return [row for row in page if row.pk in mine]


def reset_stale(
    model: "type[SimpleTask]",
    using: str,
    choose: "Callable[[list[SimpleTask]], list[SimpleTask]]",
) -> "Iterator[tuple[int, list[SimpleTask]]]":
    """Reset the rows whose lease is over, and READY rows that never had one."""
    rows, still = _own_rows(model, using), stale(clock.now(using))
    return reset_pages(rows, still, choose, wait=False, reason=signals.LEASE_OVER)


def stale(now: datetime.datetime) -> Q:
    """Return what is true of a row to reset (compatibility facts, section 3).

    Not DONE in the words that any database finds in an index.
    """
    return (
        Q(status__lt=DONE, auto_reset_time__lt=now)
        | Q(status__gt=DONE, auto_reset_time__lt=now)
        | Q(status=READY, auto_reset_time=None)
    )


def channel_column(model: type[models.Model]) -> "models.Field[Any, Any] | None":
    """Return the column that holds the channel, if it is one, and of a value."""
    name = getattr(model, "channel_field", None)
    columns = (f for f in model._meta.concrete_fields if not f.is_relation)
    return next((column for column in columns if column.name == name), None)


def owned(model: type[models.Model], using: str) -> models.QuerySet[Any]:
    """Return all rows of the table that has the state columns.

    With multi-table inheritance that is a parent's. Django updates a parent's
    columns in two queries, first the keys and then the rows: too late for a WHERE.
    """
    owner = model._meta.get_field("status").model
    return owner._base_manager.using(using)


def _held_by(fence: Fence, row: "SimpleTask") -> models.QuerySet[Any]:
    """Return the row while its run holds it; none when it does not any more."""
    rows = owned(type(row), fence.using)
    return fence.narrow(rows).filter(pk=fence.pk)


def why_not(
    model: type[models.Model], using: str, pk: Any, force: bool = False
) -> exceptions.DjangoSimpleTask2Error:
    """Return the error that says why a row cannot be claimed."""
    name = task_info.text(model, pk)
    found = owned(model, using).filter(pk=pk).values("status", "auto_reset_time")
    row = retrying.persist(using, found.first)
    if row is None:
        return exceptions.error(exceptions.ROW_GONE, task_info=name)
    if row["status"] == READY or force:
        return exceptions.row_locked(name)
    if row["status"] == DONE:
        return exceptions.error(exceptions.ALREADY_DONE, task_info=name)
    over = row["auto_reset_time"] and row["auto_reset_time"] < clock.now(using)
    if row["status"] == DOING and over:
        return exceptions.error(exceptions.NOT_READY, task_info=name, status="DOING")
    return exceptions.error(exceptions.CLAIMED, task_info=name)


def _why_no_step(
    model: type[models.Model], using: str, pk: Any, step: int
) -> exceptions.DjangoSimpleTask2Error:
    found = owned(model, using).filter(pk=pk).values("status", "current_step")
    row = retrying.persist(using, found.first)
    if row is None or row["status"] == DONE:
        return why_not(model, using, pk)
    if row["status"] == DOING and (row["current_step"] or 0) >= step:
        name = task_info.text(model, pk)
        return exceptions.error(exceptions.CLAIMED, task_info=name)
    return exceptions.claim_lost(task_info.text(model, pk))


def _now(row: "SimpleTask") -> datetime.datetime:
    return clock.now(row._fence.using if row._fence else str(row._state.db))


def _write(row: "SimpleTask", values: dict[str, Any], code: int) -> None:
    """Save the row with the values of a transition, behind its fence."""
    fence = row._fence
    # The run is over, or its handler has deleted the row.
    if fence is None or row.pk != fence.pk:
        name = task_info.text(type(row), fence.pk if fence else row.pk)
        raise exceptions.claim_lost(name, code)
    name = task_info.text(type(row), fence.pk)
    with writing(row, values):
        try:
            written = _persist_run(row, values, lambda: _is_saved(row))
        except BaseException as error:  # of the database, or of the model's own save()
            # A time limit is about the run.
            is_time_limit = isinstance(error, SoftTimeLimitExceeded)
            if is_time_limit or interruptions.is_interruption(error):
                raise
            # A database's text may hold another row's values.
            kind = type(error).__name__
            text = kind if isinstance(error, Error) else exceptions.in_words(error)
            raise exceptions.error(code, task_info=name, error=text) from error
    if not written:
        raise exceptions.claim_lost(name, code)
    row._hold(values)


def own_row(row: "SimpleTask") -> "SimpleTask":
    """Return the run's row, whatever a handler has made of the object that it was given.

    One that was saved under another key, as a copy, or to another database, is that one's
    from then on: the run goes on with the row that it has claimed.
    """
    fence = row._fence
    if fence is None:
        return row
    if row.pk == fence.pk and not row._state.adding:
        row._state.db = fence.using
        return row
    own = None if fence.is_deleted else _load(type(row), fence.using, fence.pk)
    if own is None:
        return row
    own._fence = fence
    fence.loaded.clear()
    fence.note_loaded(own, own._meta.concrete_fields)
    return own


def _is_saved(row: "SimpleTask") -> bool:
    """Save the row; False where its run has lost its claim."""
    try:
        with savepoint.around(str(row._state.db)):
            row._save_in_run()
    except exceptions.ClaimLost:
        return False
    return True


def _write_alone(row: "SimpleTask", values: dict[str, Any]) -> bool:
    """Write the values of a transition and nothing of the user's; False if it cannot be."""
    if row._fence is None:
        return False
    mine = _held_by(row._fence, row)

    def write() -> bool:
        with savepoint.around(mine.db):
            return bool(mine.update(**values))

    try:
        return _persist_run(row, values, write)
    except Error:
        return False


def _persist_run(
    row: "SimpleTask", values: dict[str, Any], attempt: Callable[[], bool]
) -> bool:
    """Have a write of a run attempted until it is written or the fence says no.

    A write without a transition, as before a proxy request, is known by its ``mod_time``.
    """
    fence = row._fence
    assert fence is not None
    using = fence.using

    def landed() -> bool:
        written = {**(values or {"mod_time": row.mod_time}), "start_time": fence.token}
        if not _landed(type(row), using, fence.pk, written):
            return False
        fence.note_loaded(row, row._meta.concrete_fields)
        return True

    return retrying.persist(using, attempt, landed, RUN_PATIENCE)


def _tell_step_ended(row: "SimpleTask") -> None:
    if row._fence is not None:
        ended, row._fence.ended = row._fence.ended, None
        signals.step_ended(row, ended)


@contextmanager
def writing(row: "SimpleTask", values: dict[str, Any]) -> Iterator[None]:
    """Set the values of a transition, and let the saves inside write them."""
    fence = row._fence
    assert fence is not None
    for name, value in values.items():
        setattr(row, name, value)
    fence.writes = frozenset(values)
    try:
        yield
    finally:
        fence.writes = frozenset()


def _correct_lease(row: "SimpleTask", now: datetime.datetime) -> None:
    """Give the row a lease of its own length, where it is not its model's.

    The claim comes before the load, so it cannot know the row's channel.
    """
    timeout = row.get_do_task_timeout()
    if timeout != type(row).do_task_timeout and row._fence is not None:
        lease = clock.after(now, timeout)
        mine = _held_by(row._fence, row)
        retrying.persist(mine.db, lambda: mine.update(auto_reset_time=lease))
        row.auto_reset_time = lease


def _is_token(stored: datetime.datetime | None, written: datetime.datetime) -> bool:
    """Tell whether ``stored`` is ``written``, perhaps rounded to whole seconds.

    Columns that an old MySQL schema made have no fractions of a second.
    """
    if stored is None or stored == written:
        return stored == written
    return stored.microsecond == 0 and abs((stored - written).total_seconds()) <= 1


def _own_rows(model: "type[SimpleTask]", using: str) -> "models.QuerySet[SimpleTask]":
    """Return the model's rows but for its heirs', which run the heirs' handlers."""
    rows = model._base_manager.using(using).all()
    for heir in _heirs(model):
        heirs_rows = heir._base_manager.using(using).filter(pk=OuterRef("pk"))
        rows = rows.filter(~Exists(heirs_rows))
    return rows


def _heirs(model: "type[SimpleTask]") -> "list[type[SimpleTask]]":
    return [
        heir
        for heir in apps.get_models()
        if issubclass(heir, model) and model in heir._meta.parents and not heir._meta.proxy
    ]
