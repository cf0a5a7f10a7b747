"""Who gets a row: the claim of a worker, a reservation over HTTP, a step that comes by itself."""

import datetime
import time
from typing import Any, TypeVar

from django.db import Error, models
from django.db.models import Q

from .. import exceptions
from . import clock, fence, interruptions, retrying, states, store, task_info
from . import querysets as tables
from .model import Row
from .states import DOING, DONE, READY
from .store import is_token

R = TypeVar("R", bound=Row)

RESERVED = 10.0  # seconds that a row handed out over HTTP is handed to nobody else
LOCKED = 0.2  # seconds that a claim tries again for a row that a transaction has locked
LOOK = 0.05  # seconds between two such tries


def claim(model: type[R], using: str, pk: Any, force: bool = False) -> R:
    """Claim the row and load it: of any number of callers, one gets it.

    Raises DjangoSimpleTask2Error 2910004, 2910008, 2910013 or 2910015 for the others
    (section 5 of the compatibility page); with ``force``, only 2910004. A row that is
    claimed and cannot be loaded, because a field or a manager of the user's raises, fails
    with 2910009.
    """
    now = clock.now(using)
    try:
        return _claim(model, using, pk, force, now)
    except (exceptions.DjangoSimpleTask2Error, Error):
        raise
    except BaseException as error:
        if interruptions.is_interruption(error):
            raise
        if not _fail_unloaded(model, using, pk, now):
            raise
        raise exceptions.handler_failed(task_info.text(model, pk), 1, error) from error


def _claim(model: type[R], using: str, pk: Any, force: bool, now: datetime.datetime) -> R:
    values = states.claim(now, clock.after(now, model.do_task_timeout))
    where = {"pk": pk, **({} if force else {"status": READY})}

    def landed() -> R | None:
        return tables.load(model, using, pk) if store.landed(model, using, pk, values) else None

    def attempt() -> R | None:
        claimed: R | None = retrying.persist(
            using, lambda: store.claim(model, using, where, values), landed
        )
        return claimed

    end = time.monotonic() + LOCKED
    while (row := attempt()) is None:
        why = why_not(model, using, pk, force)
        if not isinstance(why, exceptions.RowLocked) or time.monotonic() > end:
            raise why
        time.sleep(LOOK)
    if not is_token(row.start_time, now):  # reset and claimed again since
        raise exceptions.error(exceptions.CLAIMED, task_info=row.get_task_info())
    fence.set_around(row, using, DOING)
    _correct_lease(row, now)
    return row


def _correct_lease(row: Row, now: datetime.datetime) -> None:
    """Give the row a lease of its own length, where it is not its model's.

    The claim comes before the load, so it cannot know the row's channel.
    """
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
    return store.persist(model, using, pk, values, lambda: bool(mine.update(**values)))


def why_not(
    model: type[models.Model], using: str, pk: Any, force: bool = False
) -> exceptions.DjangoSimpleTask2Error:
    """Return the error that says why a row cannot be claimed."""
    name = task_info.text(model, pk)
    state = tables.owned(model, using).filter(pk=pk).values("status", "auto_reset_time")
    row = retrying.persist(using, state.first)
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


# -- reservations, and steps that come by themselves ------------------------------------------


def unreserved(model: type[R], using: str) -> models.QuerySet[R]:
    """Return the READY rows that nobody has reserved."""
    return tables.own_rows(model, using).filter(_free(using), status=READY)


def reserve(model: type[Row], using: str, pk: Any) -> bool:
    """Reserve a READY row for one caller, who is about to claim it; False if it is not.

    For ten seconds no other caller gets it. A READY row has no ``start_time`` otherwise, so
    the column can hold the time of the reservation: any claim and any reset writes over it,
    and no claim asks for it.
    """
    values = {"start_time": clock.now(using)}
    waiting = tables.owned(model, using).filter(_free(using), pk=pk, status=READY)
    return retrying.persist(
        using,
        lambda: bool(store.update(waiting, values, wait=False)),
        lambda: store.landed(model, using, pk, {"status": READY, **values}),
    )


def _free(using: str) -> Q:
    over = clock.now(using) - datetime.timedelta(seconds=RESERVED)
    return Q(start_time=None) | Q(start_time__lt=over)


def take_step(model: type[R], using: str, pk: Any, step: int) -> R:
    """Start step ``step`` > 1 of a row that no claim travels with, and load it.

    We cannot tell whether the previous step has finished; the caller must wait for its
    answer. Raises 2910013 where that step runs or has run, 2910014 where the row has been
    reset since (section 3 of the compatibility page).
    """
    values = states.step(step, clock.now(using))
    before = tables.owned(model, using).filter(pk=pk, status=DOING, current_step=step - 1)
    is_taken = retrying.persist(
        using,
        lambda: before.update(**values),
        lambda: store.landed(model, using, pk, {"status": DOING, **values}),
    )
    row: R | None = tables.load(model, using, pk) if is_taken else None
    if row is None:
        raise _why_no_step(model, using, pk, step)
    fence.set_around(row, using, DOING)
    return row


def _why_no_step(
    model: type[models.Model], using: str, pk: Any, step: int
) -> exceptions.DjangoSimpleTask2Error:
    state = tables.owned(model, using).filter(pk=pk).values("status", "current_step")
    row = retrying.persist(using, state.first)
    if row is None or row["status"] == DONE:
        return why_not(model, using, pk)
    name = task_info.text(model, pk)
    if row["status"] == DOING and (row["current_step"] or 0) >= step:
        return exceptions.error(exceptions.CLAIMED, task_info=name)
    return exceptions.claim_lost(name)
