"""The transitions of a row, each one UPDATE whose WHERE says what must still be true.

``states`` has what each writes. Handlers run at least once: after a crash a row is reset and
runs again.
"""

import datetime
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.db import Error, connections

from .. import exceptions, signals
from . import announcing, clock, databases, due, fence, memory, retrying, states, store, task_info
from . import querysets as tables
from .announcing import Ended
from .fence import Fence
from .interruptions import is_about_the_run
from .model import Row
from .seen import hold
from .states import DOING, DONE, READY
from .transactions import savepoint

R = TypeVar("R", bound=Row)
logger = logging.getLogger(__name__)

RUN_PATIENCE = 60.0  # seconds that a run tries to write its row, or its work was for nothing


# -- the writes of a run ---------------------------------------------------------------------


def start_step(
    row: Row, step: int, ended: Ended | None = None, more: dict[str, Any] | None = None
) -> None:
    """Write that ``step`` starts, and what the handler of the step before has changed.

    ``more`` are columns of the memory of a durable row.
    """
    _write(row, states.step(step, _now(row)) | (more or {}), exceptions.STEP_NOT_SAVED)
    announcing.step_ended(row, ended)


def save_step(row: Row, ended: Ended | None = None, more: dict[str, Any] | None = None) -> None:
    """Write what the handler changed, before a proxy request or the call of the next step."""
    _write(row, more or {}, exceptions.STEP_NOT_SAVED)
    announcing.step_ended(row, ended)


def finish(row: Row, ended: Ended | None = None) -> None:
    """Write that the run succeeded, also where no step was left to run.

    Raises 2910010 where the run has lost its claim.
    """
    values = states.end(_now(row), success=True)
    if ended is not None:
        values |= memory.returned(row, ended.data)
    else:
        values["current_step"] = row.final_step
    _write(row, values, exceptions.FINISH_NOT_SAVED)
    _announce_end(row, ended)


def fail(row: Row, error: BaseException, ended: Ended | None = None) -> None:
    """Write that a handler raised. Raises 2910010 where the claim is lost.

    What the handler left in the row's fields is saved if it can be; the row ends anyway. But where
    a query of the handler's has failed with the session to the row's database, the run is lost with
    that session, and not the row: it runs again when its lease is over.
    """
    if _is_lost_with_its_session(row, error):
        name = task_info.text(type(row), row.pk)
        reason = exceptions.in_words(error)
        raise exceptions.error(exceptions.FINISH_NOT_SAVED, task_info=name, error=reason)
    row = own_row(row)
    now = _now(row)
    step = ended.step if ended else row.current_step or 1
    values = states.end(now, success=False) | memory.failed(row, step, error, now)
    name, alone = task_info.text(type(row), row.pk), {**values, "mod_time": now}
    if memory.resumes(row):  # its fields stay as its last completed step has left them
        if not _write_alone(row, alone):
            raise exceptions.claim_lost(name, exceptions.FINISH_NOT_SAVED)
        hold(row, values)
    else:
        try:
            _write(row, values, exceptions.FINISH_NOT_SAVED)
        except exceptions.DjangoSimpleTask2Error as unsaved:
            if not _write_alone(row, alone):
                raise
            hold(row, values)
            logger.warning("%s has failed, and saved no more than that: %s", name, unsaved)
    _announce_end(row, ended, error)


def retry(
    row: Row, error: BaseException, moment: datetime.datetime, ended: Ended | None = None
) -> None:
    """Write that a durable row is tried again at ``moment``; raises ClaimLost.

    What the handler has changed and not saved is not written: the next attempt begins with the row
    as the last step, or save, has left it.
    """
    own = fence.of(row)
    now = _now(row)
    step = ended.step if ended else row.current_step or 1
    values = states.reset(now, due.look(row, moment))
    values = memory.retried(type(row), values, moment) | memory.failed(row, step, error, now)
    if own is None or not _write_alone(row, values):
        raise exceptions.claim_lost(task_info.text(type(row), row.pk))
    hold(row, values)
    fence.lift(row)
    announcing.step_ended(row, ended)
    announcing.retried(row, error, moment)


def renew(row: Row) -> bool:
    """Begin the lease of a live run anew; False if it has lost its claim."""
    own = fence.of(row)
    if own is None:
        return False
    mine = own.held(type(row))
    values = {"auto_reset_time": clock.after(_now(row), row.get_do_task_timeout())}
    return bool(retrying.persist(own.using, lambda: store.update(mine, values, wait=False)))


def own_row(row: R) -> R:
    """Return the run's row, whatever a handler has made of the object that it was given.

    An object that was saved as a copy, under another key or to another database, stands for that
    copy from then on: the run goes on with the row that it has claimed, loaded anew.
    """
    own = fence.of(row)
    if own is None:
        return row
    if row.pk == own.pk and not row._state.adding:
        row._state.db = own.using
        return row
    claimed: R | None = None if own.is_deleted else tables.load(type(row), own.using, own.pk)
    if claimed is None:
        return row
    fence.move(own, claimed)
    return claimed


def _is_lost_with_its_session(row: Row, error: BaseException) -> bool:
    """Tell whether an error, or what it was raised for, has cut the row's own session."""
    using = _using(row)
    if connections[using].in_atomic_block:
        return False
    cause: BaseException | None = error
    while cause is not None:
        if retrying.fault_of(using, cause) is retrying.Fault.LOST:
            return not retrying.answers(using)
        cause = cause.__cause__ or cause.__context__
    return False


def _announce_end(row: Row, ended: Ended | None, error: BaseException | None = None) -> None:
    fence.lift(row)  # receivers may save the row
    announcing.step_ended(row, ended)
    announcing.finished(row, error)


def _write(row: Row, values: dict[str, Any], code: int) -> None:
    """Save the row with the values of a transition, behind its fence."""
    own = fence.of(row)
    name = task_info.text(type(row), own.pk if own else row.pk)
    # The run is over, or its handler has deleted the row.
    if own is None or row.pk != own.pk:
        raise exceptions.claim_lost(name, code)
    with fence.writing(own, row, values):
        try:
            is_written = _persist_run(row, own, values, lambda: _is_saved(row, own))
        except BaseException as error:  # of the database, or of the model's own save()
            if is_about_the_run(error):
                raise
            # A database's text may hold another row's values.
            kind = type(error).__name__
            text = kind if isinstance(error, Error) else exceptions.in_words(error)
            raise exceptions.error(code, task_info=name, error=text) from error
    if not is_written:
        raise exceptions.claim_lost(name, code)
    hold(row, values)


def _is_saved(row: Row, own: Fence) -> bool:
    """Save the row; False where its run has lost its claim."""
    try:
        with savepoint(own.using):
            store.save_in_run(row, own)
    except exceptions.ClaimLost:
        return False
    return True


def _write_alone(row: Row, values: dict[str, Any]) -> bool:
    """Write the values of a transition and nothing of the user's; False if it cannot be."""
    own = fence.of(row)
    if own is None:
        return False

    def write() -> bool:
        with savepoint(own.using):
            return bool(own.held(type(row)).update(**values))

    try:
        return _persist_run(row, own, values, write)
    except Error:
        return False


def _persist_run(row: Row, own: Fence, values: dict[str, Any], attempt: Callable[[], bool]) -> bool:
    """Have a write of a run attempted until it is written or the fence says no.

    A write without a transition, as before a proxy request, is known by its ``mod_time``.
    """

    def landed() -> bool:
        # The token, unless a retry has taken it away.
        written = {"start_time": own.token, **(values or {"mod_time": row.mod_time})}
        if not store.landed(type(row), own.using, own.pk, written):
            return False
        own.remember_loaded(row, row._meta.concrete_fields)
        return True

    return retrying.persist(own.using, attempt, landed, RUN_PATIENCE)


# -- ends that come from outside of a run ------------------------------------------------------


def change(row: Row, values: dict[str, Any], status: int | None) -> bool:
    """Save a transition that a caller asks for; False if it is not due any more.

    With a ``status``, the row must have it still, and the ``start_time`` of the object, which
    may be older than the last claim. As a save, so that receivers and mixins hear of it as
    they do of the original's; nothing else that the caller has changed is written.
    """
    using = databases.of(row)
    before = {name: vars(row)[name] for name in values if name in vars(row)}
    own = Fence(row.pk, row.start_time, status, using)
    fence.put(own, row)
    try:
        with fence.writing(own, row, values), savepoint(using):
            row.save(using=using, update_fields={*values, "mod_time"})
    except exceptions.ClaimLost:
        vars(row).update(before)
        return False
    finally:
        fence.lift(row)
    return True


def postpone(row: Row, moment: datetime.datetime) -> None:
    """Keep auto-reset from publishing a READY row before it was due at ``moment``.

    A durable row is not claimed before, either. Of another, a time that the row alone keeps is in
    ``start_time``, too, which a READY row does not use: no queue has its message.
    """
    moment = clock.stored(moment)
    values: dict[str, Any] = {"auto_reset_time": due.look(row, moment)}
    if row._is_durable:
        values["run_after"] = moment
    elif due.is_kept_by_row(moment):
        values["start_time"] = moment
    mine = tables.owned(type(row), databases.of(row)).filter(pk=row.pk, status=READY)
    if mine.update(**values):
        hold(row, values)


def release(row: Row) -> bool:
    """Make a row READY whose run, as the row was loaded, is known to be lost.

    False if the row has been reset, claimed again, renewed or done since.
    """
    now = _now(row)
    values = states.reset(now, clock.after(now, row.get_task_wait_timeout()))
    values = memory.lost(type(row), values)
    is_released = _end_lost(row, values, wait=True)
    if is_released:
        announcing.reset([row], signals.RUN_LOST)
    return is_released


def give_up(row: Row, error: BaseException, wait: bool) -> bool:
    """Make a row DONE and unsuccessful whose run is known to be lost; False as of ``release``.

    Without ``wait``, also where a transaction has locked it.
    """
    now = _now(row)
    values = {**states.end(now, success=False), "mod_time": now}
    values |= memory.given_up(row, error, now)
    is_given_up = _end_lost(row, values, wait)
    if is_given_up:
        hold(row, values)
        announcing.finished(row, error)
    return is_given_up


def end_open(model: type[Row], using: str, pks: list[Any], values: dict[str, Any]) -> int:
    """Write ``values`` to those rows that are not DONE, also under a run; return their number."""
    rows = tables.owned(model, using).filter(pk__in=pks).exclude(status=DONE)
    return retrying.persist(using, lambda: rows.update(**values))


def _end_lost(row: Row, values: dict[str, Any], wait: bool) -> bool:
    using = str(row._state.db)
    lost = Fence(row.pk, row.start_time, DOING, using).held(type(row))
    mine = lost.filter(auto_reset_time=row.auto_reset_time)
    attempt = partial(store.update, mine, values, wait)
    return store.persist(type(row), using, row.pk, values, attempt)


def _using(row: Row) -> str:
    own = fence.of(row)
    return own.using if own else str(row._state.db)


def _now(row: Row) -> datetime.datetime:
    return clock.now(_using(row))
