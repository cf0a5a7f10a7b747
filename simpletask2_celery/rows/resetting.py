"""Reset rows a page at a time: one UPDATE a page, which asks again what must still be true."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

from django.db import Error, models
from django.db.models import Q

from .. import signals
from . import announcing, clock, querysets, retrying, states, store
from .model import Row
from .querysets import owned

R = TypeVar("R", bound=Row)


def reset_pages(
    rows: models.QuerySet[R],
    still: Q,
    choose: Callable[[list[R]], list[R]] = list,
    wait: bool = True,
    reason: str = signals.OPERATOR,
) -> Iterator[tuple[int, list[R]]]:
    """Reset rows a page at a time; yield (number reset, rows to publish) of each.

    ``choose`` returns the rows of a page to reset; it may end others, as auto-reset gives up rows.
    Without ``wait``, rows that a transaction has locked are left alone. ``still`` is what must be
    true of a row, and the UPDATE of a page asks it again: a row that finished meanwhile is left
    alone. The yielded rows may include such a row; its message does nothing.
    """
    model, using = rows.model, rows.db
    for page in querysets.pages(rows.filter(still)):
        now = clock.now(using)
        for seconds, group in _by_wait(page, choose).items():
            keys = store.with_key(model, using, [row.pk for row in group])
            values = states.reset(now, clock.after(now, seconds))
            again = {"status": states.READY, "auto_reset_time": values["auto_reset_time"]}
            landed = owned(model, using).filter(keys, **again).count
            mine = owned(model, using).filter(still, keys)
            attempt = partial(store.update, mine, values, wait)
            changed = retrying.persist(using, attempt, landed)
            if announcing.is_wanted(signals.task_reset, model):
                announcing.reset(changed_rows(group, changed, values), reason)
            yield changed, group


def reset_due(
    model: type[R], using: str, choose: Callable[[list[R]], list[R]]
) -> Iterator[tuple[int, list[R]]]:
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
    mine = {
        state.pop("pk")
        for state in rows.values("pk", *values)
        if all(store.is_written(state[name], value) for name, value in values.items())
    }
    return [row for row in page if row.pk in mine]


def _by_wait(page: list[R], choose: Callable[[list[R]], list[R]]) -> dict[int, list[R]]:
    """Return the rows to reset, by the seconds that they wait then.

    Where a method of a row's own raises, each row of the page is asked by itself.
    """
    by_wait: dict[int, list[R]] = {}
    try:
        for row in choose(page):
            by_wait.setdefault(row.get_task_wait_timeout(), []).append(row)
    except Error:
        raise
    except Exception as error:
        if len(page) == 1:
            querysets.log_left_out(type(page[0]), page[0].pk, error)
            return {}
        by_wait = {}
        for row in page:
            for seconds, rows in _by_wait([row], choose).items():
                by_wait.setdefault(seconds, []).extend(rows)
    return by_wait
