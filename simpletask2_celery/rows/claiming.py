"""Who gets a row: the claim of a worker, a reservation over HTTP, a step that comes by itself."""

import datetime
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from django.db import Error, models
from django.db.models import Q

from .. import exceptions
from . import clock, due, fence, memory, retrying, states, store, task_info
from . import querysets as tables
from .interruptions import is_interruption
from .model import Row
from .states import DOING, DONE, READY

R = TypeVar("R", bound=Row)

RESERVED = 10.0  # seconds that a row handed out over HTTP is handed to nobody else
LOCKED = 0.2  # seconds that a claim tries again for a row that a transaction has locked
LOOK = 0.05  # seconds between two such tries


def claim(model: type[R], using: str, pk: Any, force: bool = False, resume: bool = True) -> R:
    """Claim the row and load it: of any number of callers, one gets it.

    Raises DjangoSimpleTask2Error 2910004, 2910008, 2910013 or 2910015 for the others (section 5 of
    the compatibility page); with ``force``, only 2910004. A durable
    row begins after its last completed step, if it says so; with ``force``, or without ``resume``,
    at the first one. A row that is claimed and cannot be
    loaded, because a field or a manager of the user's raises, fails with 2910009.
    """
    now = clock.now(using)
    try:
        return _claim(model, using, pk, force, resume and not force, now)
    except BaseException as error:
        is_ours = isinstance(error, (exceptions.DjangoSimpleTask2Error, Error))
        if is_ours or is_interruption(error) or not _fail_unloaded(model, using, pk, now):
            raise
        name, handler = task_info.text(model, pk), task_info.handler(model, 1)
        raise exceptions.handler_failed(name, handler, error) from error


def _claim(
    model: type[R], using: str, pk: Any, force: bool, resume: bool, now: datetime.datetime
) -> R:
    values = states.claim(now, clock.after(now, model.do_task_timeout))
    values |= memory.begun(model, now, resume)
    where = {"pk": pk, **({} if force else {"status": READY})}
    not_after = {} if force else due.columns(model, now)
    attempt: Callable[[], R | None] = partial(
        store.claim, model, using, where, values, not_after=not_after
    )

    def landed() -> R | None:
        return tables.load(model, using, pk) if store.landed(model, using, pk, values) else None

    end = time.monotonic() + LOCKED
    while (row := retrying.persist(using, attempt, landed)) is None:
        why = _why_not(model, using, pk, force)
        if not isinstance(why, exceptions.RowLocked) or time.monotonic() > end:
            raise why
        time.sleep(LOOK)
    if not store.is_written(row.start_time, now):  # reset and claimed again since
        raise exceptions.error(exceptions.CLAIMED, task_info=row.get_task_info())
    fence.set_around(row, using)
    _correct_lease(row, now)
    return row


def _correct_lease(row: Row, now: datetime.datetime) -> None:
    """Give the row a lease of its own length: the claim, before the load, wrote its model's."""
    timeout = row.get_do_task_timeout()
    own = fence.of(row)
    if timeout != type(row).do_task_timeout and own is not None:
        lease = clock.after(now, timeout)
        mine = own.held(type(row))
        retrying.persist(own.using, lambda: mine.update(auto_reset_time=lease))
        row.auto_reset_time = lease


def _fail_unloaded(model: type[Row], using: str, pk: Any, now: datetime.datetime) -> bool:
    """Fail a row that was claimed and cannot be loaded; False if it was not claimed."""
    mine = tables.owned(model, using).filter(pk=pk, status=DOING, start_time=now)
    values = {**states.end(clock.now(using), success=False), "mod_time": now}
    return store.persist(model, using, pk, values, lambda: mine.update(**values))


def _why_not(
    model: type[Row], using: str, pk: Any, force: bool = False, step: int = 1
) -> exceptions.DjangoSimpleTask2Error:
    """Return the error that says why a row cannot be claimed, or its next step not started."""
    name = task_info.text(model, pk)
    rows = tables.owned(model, using).filter(pk=pk)
    waits_for = due.columns(model, clock.now(using))
    state = rows.values("status", "current_step", "auto_reset_time", *waits_for)
    row = retrying.persist(using, state.first)
    if row is None:
        return exceptions.error(exceptions.ROW_GONE, task_info=name)
    status, current_step, lease = row["status"], row["current_step"], row["auto_reset_time"]
    if step == 1 and status == READY and not force:
        for column, now in waits_for.items():
            if row[column] is not None and row[column] > now:
                seconds = (row[column] - now).total_seconds()
                return exceptions.not_due(name, row[column], seconds)
    if step == 1 and (force or status == READY):
        return exceptions.row_locked(name)
    if status == DONE:
        return exceptions.error(exceptions.ALREADY_DONE, task_info=name)
    if step > 1 and (status != DOING or (current_step or 0) < step):
        return exceptions.claim_lost(name)
    if step == 1 and status == DOING and lease and lease < clock.now(using):
        return exceptions.error(exceptions.NOT_READY, task_info=name, status="DOING")
    return exceptions.error(exceptions.CLAIMED, task_info=name)


def is_ended(model: type[Row], using: str, pk: Any, token: datetime.datetime | None) -> bool:
    """Tell whether a row was ended or deleted under its run, and by no other run."""
    state = tables.owned(model, using).filter(pk=pk).values_list("status", "start_time")
    try:
        return retrying.persist(using, state.first) in (None, (DONE, token))
    except Error:  # that the claim is lost says enough
        return False


def unreserved(model: type[R], using: str) -> models.QuerySet[R]:
    """Return the READY rows that nobody has reserved."""
    is_due = due.is_due(model, clock.now(using))
    return tables.own_rows(model, using).filter(_free(using), is_due, status=READY)


def reserve(model: type[Row], using: str, pk: Any) -> bool:
    """Reserve a READY row for one caller, who is about to claim it; False if it is not.

    For ten seconds no other caller gets it. ``start_time``, which a READY row does not use, holds
    the time: any claim and any reset writes over it, and no claim asks for it.
    """
    values = {"start_time": clock.now(using)}
    waiting = tables.owned(model, using).filter(_free(using), pk=pk, status=READY)
    waiting = waiting.filter(due.is_due(model, clock.now(using)))
    reserved = {"status": READY, **values}
    attempt = partial(store.update, waiting, values, wait=False)
    return store.persist(model, using, pk, reserved, attempt)


def _free(using: str) -> Q:
    over = clock.now(using) - datetime.timedelta(seconds=RESERVED)
    return Q(start_time=None) | Q(start_time__lt=over)


def go_on(model: type[R], using: str, pk: Any, step: int, token: datetime.datetime) -> R:
    """Start the step after ``step`` of a row whose request another machine has made; load it.

    ``token`` is the claim of the run that has handed the request over. Raises AnswerLate where
    that claim is lost or over, or another message has brought the answer.
    """
    now = clock.now(using)
    lease = clock.after(now, model.do_task_timeout)
    values = {**states.step(step + 1, now), "auto_reset_time": lease, **memory.taken_up(model)}
    where = {"pk": pk, "status": DOING, "start_time": token, "current_step": step}
    waiting = tables.owned(model, using).filter(**where)
    started = {"status": DOING, "start_time": token, **values}
    attempt: Callable[[], R | None] = partial(
        store.claim, model, using, where, values, not_after={}
    )

    def landed() -> R | None:
        return tables.load(model, using, pk) if store.landed(model, using, pk, started) else None

    row = retrying.persist(using, attempt, landed)
    if row is None and retrying.persist(using, waiting.exists):  # somebody's transaction locks it
        is_taken = store.persist(model, using, pk, started, lambda: waiting.update(**values))
        row = tables.load(model, using, pk) if is_taken else None
    if row is None:
        why = _why_not(model, using, pk, step=step + 1)
        raise exceptions.AnswerLate(why.code, why.message)
    fence.set_around(row, using)
    _correct_lease(row, now)
    return row


def take_step(model: type[R], using: str, pk: Any, step: int) -> R:
    """Start step ``step`` > 1 of a row that no claim travels with, and load it.

    We cannot tell whether the previous step has finished; the caller must wait for its answer.
    Raises 2910013 where that step runs or has run, 2910014 where the row has been reset since
    (section 3 of the compatibility page).
    """
    values = states.step(step, clock.now(using))
    before = tables.owned(model, using).filter(pk=pk, status=DOING, current_step=step - 1)
    started = {"status": DOING, **values}
    is_taken = store.persist(model, using, pk, started, lambda: before.update(**values))
    row: R | None = tables.load(model, using, pk) if is_taken else None
    if row is None:
        raise _why_not(model, using, pk, step=step)
    fence.set_around(row, using)
    return row
