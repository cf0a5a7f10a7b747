"""Reset rows a page at a time: one UPDATE a page, which asks again what must still be true."""

import datetime
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from django.db import Error, models
from django.db.models import Q

from .. import signals
from . import announcing, clock, due, memory, querysets, retrying, states, store
from .model import Row
from .querysets import owned
from .values import PLAIN

R = TypeVar("R", bound=Row)
Choose = Callable[[list[R]], list[R]]


def reset_pages(
    rows: models.QuerySet[R],
    still: Q,
    choose: Choose[R] = list,
    wait: bool = True,
    reason: str = signals.OPERATOR,
) -> Iterator[tuple[int, list[R]]]:
    """Reset rows a page at a time; yield (number reset, rows to publish) of each.

    ``choose`` returns the rows of a page to reset; it may end others, as auto-reset gives up rows.
    Without ``wait``, rows that a transaction has locked are left alone. ``still`` is what must be
    true of a row, and the UPDATE of a page asks it again: a row that finished meanwhile is left
    alone. The yielded rows may include such a row; its message does nothing.
    """
    for page in querysets.pages(rows.filter(still)):
        yield from _reset_page(page, still, choose, wait, reason)


def _reset_page(
    page: list[R], still: Q, choose: Choose[R], wait: bool, reason: str, resume: bool = False
) -> Iterator[tuple[int, list[R]]]:
    model, using = type(page[0]), str(page[0]._state.db)
    now = clock.now(using)
    for look, group in _by_look(page, choose, reason, now).items():
        keys = store.with_key(model, using, [row.pk for row in group])
        values = _values(model, reason, states.reset(now, look), resume)
        again = {"status": states.READY, "auto_reset_time": values["auto_reset_time"]}
        landed = owned(model, using).filter(keys, **again).count
        mine = owned(model, using).filter(still, keys)
        attempt = partial(store.update, mine, values, wait)
        changed = retrying.persist(using, attempt, landed)
        if announcing.is_wanted(signals.task_reset, model):
            announcing.reset(changed_rows(group, changed, values), reason)
        if reason == signals.OPERATOR:
            _be_due(group)
        yield changed, group


def _be_due(rows: list[R]) -> None:
    """Let rows be published now, and not for the time that they had."""
    for row in rows:
        if row._is_durable:
            vars(row)["run_after"] = None


def reset_failed(rows: list[R]) -> list[R]:
    """Reset those of a page of rows that are DONE and unsuccessful; return them, to publish.

    They go on after their last completed step, if their model resumes.
    """
    failed = [row for row in rows if row.status == states.DONE and row.success is False]
    if not failed:
        return []
    still, resume = Q(status=states.DONE, success=False), memory.resumes(failed[0])
    reset: list[R] = []
    for changed, group in _reset_page(failed, still, list, True, signals.OPERATOR, resume):
        reset += changed_rows(group, changed, {"status": states.READY})
    return reset


def hasten(rows: list[R]) -> list[R]:
    """Make those of a page of durable rows due that wait for their time; return them, to publish.

    Each is still READY, and not due, when its time is written.
    """
    waiting = [row for row in rows if row.status == states.READY and due.after(row)]
    if not waiting:
        return []
    model, using = type(waiting[0]), str(waiting[0]._state.db)
    now = clock.now(using)
    hastened: list[R] = []
    for look, group in _by_look(waiting, list, signals.OPERATOR, now).items():
        keys = store.with_key(model, using, [row.pk for row in group])
        ready = owned(model, using).filter(keys, status=states.READY)
        values = {"run_after": now, "auto_reset_time": look, "mod_time": now}
        attempt = partial(ready.filter(run_after__gt=now).update, **values)
        changed = retrying.persist(using, attempt, ready.filter(**values).count)
        hastened += changed_rows(group, changed, values)
    _be_due(hastened)
    return hastened


def reset_due(model: type[R], using: str, choose: Choose[R]) -> Iterator[tuple[int, list[R]]]:
    """Reset the rows whose lease is over, and READY rows that never had one."""
    rows, still = querysets.own_rows(model, using), states.due(clock.now(using))
    return reset_pages(rows, still, choose, wait=False, reason=signals.LEASE_OVER)


def changed_rows(page: list[R], changed: int, values: dict[str, Any]) -> list[R]:
    """Return those rows of a page that an UPDATE has changed: all, if that is their number.

    Otherwise something came between, and the database says which rows hold the values.
    """
    if changed == len(page) or not changed:
        return page[:changed]
    model, using = type(page[0]), str(page[0]._state.db)
    rows = owned(model, using).filter(pk__in=[row.pk for row in page])
    plain = {name: value for name, value in values.items() if isinstance(value, PLAIN)}
    mine = {
        state.pop("pk")
        for state in rows.values("pk", *plain)
        if all(store.is_written(state[name], value) for name, value in plain.items())
    }
    return [row for row in page if row.pk in mine]


def _values(model: type[Row], reason: str, values: dict[str, Any], resume: bool) -> dict[str, Any]:
    """Return the columns of a reset for its reason: a durable row remembers what was lost."""
    if reason == signals.OPERATOR:
        return memory.forgotten(model, values, resume)
    return memory.lost(model, values)


def _by_look(
    page: list[R], choose: Choose[R], reason: str, now: datetime.datetime
) -> dict[datetime.datetime, list[R]]:
    """Return the rows to reset, by when auto-reset looks at them then.

    Where a method of a row's own raises, each row of the page is asked by itself.
    """
    by_look: dict[datetime.datetime, list[R]] = {}
    try:
        for row in choose(page):
            moment = None if reason == signals.OPERATOR else due.after(row)
            if moment is not None:
                look = due.look(row, moment)
            else:
                look = clock.after(now, row.get_task_wait_timeout())
            by_look.setdefault(look, []).append(row)
    except Error:
        raise
    except Exception as error:
        if len(page) == 1:
            querysets.log_left_out(type(page[0]), page[0].pk, error)
            return {}
        by_look = {}
        for row in page:
            for look, rows in _by_look([row], choose, reason, now).items():
                by_look.setdefault(look, []).extend(rows)
    return by_look
