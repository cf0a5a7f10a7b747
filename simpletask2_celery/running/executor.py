"""Run a row: claim, step 1, proxy, step 2, … finish; every arrow is one conditional write."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from celery.exceptions import Retry

from ..exceptions import ClaimLost, DjangoSimpleTask2Error, NotDue, RowEnded
from ..rows import (
    announcing,
    claiming,
    fence,
    interruptions,
    memory,
    sessions,
    task_info,
    transitions,
)
from ..rows import querysets as tables
from ..rows.announcing import Ended
from ..rows.model import Row
from ..rows.states import READY
from . import atomic_steps, heartbeat, steps

MOST_ATTEMPTS = 100  # of a row that is run until it is DONE

#: Makes a context of a claimed row, entered for as long as its run lasts.
Noted = Callable[[Row], AbstractContextManager[object]]


def run(
    model: type[Row], using: str, pk: Any, force: bool = False, noted: Noted = nullcontext
) -> dict[str, Any]:
    """Run the row to its end and return what its last step returned, with its name.

    Raises DjangoSimpleTask2Error: 2910004, 2910008, 2910013 or 2910015 where there is
    nothing to do, 2910007, 2910009, 2910010 or 2910014 where the run failed. The last two are a
    RowEnded where somebody has ended the row.
    """
    steps.require_handlers(model, 1, model.final_step)
    row = claiming.claim(model, using, pk, force)
    token = row.start_time
    try:
        with (
            _failing_the_row(row),
            noted(row),
            heartbeat.beating(row),
            _failing_the_row(row),
        ):
            return _run_steps(row)
    except ClaimLost as lost:
        if claiming.is_ended(model, using, pk, token):
            raise RowEnded(lost.code, lost.message) from lost
        raise
    finally:
        fence.lift(row)  # who keeps the object saves it as anybody else does


def run_until_done(
    model: type[Row], using: str, pk: Any, force: bool = False, noted: Noted = nullcontext
) -> dict[str, Any]:
    """Run the row as :func:`run` does; a durable one before it is due, and while it is retried.

    As Celery does in eager mode, nobody waits there for a time.
    """
    for _ in range(MOST_ATTEMPTS):
        try:
            return run(model, using, pk, force, noted)
        except (Retry, NotDue):
            tables.owned(model, using).filter(pk=pk, status=READY).update(run_after=None)
    name = task_info.text(model, pk)
    raise RuntimeError(f"{name} was tried {MOST_ATTEMPTS} times here, and is retried still.")


@contextmanager
def _failing_the_row(row: Row) -> Iterator[None]:
    """Fail the row for errors outside of its handlers: of another method of the user's, say.

    A time limit may come between two handlers, too. A row that has ended stays as it is.
    """
    try:
        yield
    except (DjangoSimpleTask2Error, Retry):
        raise
    except BaseException as error:
        if interruptions.is_interruption(error) or fence.of(row) is None:
            raise
        problem = steps.failed(row, row.current_step or 1, error)
        raise problem from problem.__cause__


def _run_steps(row: Row) -> dict[str, Any]:
    announcing.started(row)
    step, answer = _first(row)
    if step > row.final_step:  # its last step is completed: a reset that resumes has made it READY
        transitions.finish(row)
        return steps.outcome(row, row.final_step, getattr(row, "return_value", None))
    while True:
        row, ended = _run_step(row, step, answer)
        if step >= row.final_step:
            return steps.outcome(row, row.final_step, ended.data)
        step += 1
        request = _request_of(ended)
        if request is None:
            answer = dict(steps.NOT_PROXIED)
        else:
            ended, answer = _fetch(row, ended, request)
            transitions.start_step(row, step, ended)


def _first(row: Any) -> tuple[int, dict[str, Any]]:
    """Return the step that a run begins with, and its input: step 1, or the one to resume."""
    step = row.current_step or 1
    if step == 1:
        return step, {}
    if row.pending_request is None:
        return step, dict(steps.NOT_PROXIED)
    _, answer = _fetch(row, None, row.pending_request)  # once more: its answer is not kept
    return step, answer


def _run_step(row: Row, step: int, answer: dict[str, Any]) -> tuple[Row, Ended]:
    """Run one step and write its end; of a durable row in one transaction, if it says so."""
    payload = {"task_info": row.get_task_info(), "step": step, **answer}
    sessions.give_back()  # a handler may work for long without it
    if not (row._is_durable and getattr(row, "atomic_steps", False)):
        return _end_step(row, step, steps.call(row, step, payload))
    own = fence.of(row)
    try:
        return atomic_steps.once(
            row, step, lambda row: _end_step(row, step, steps.handle(row, step, payload))
        )
    except steps.Raised as raised:
        if own is not None:
            row = atomic_steps.reload(row, own)
        problem = steps.failed(row, step, raised.error, raised.ended)
        raise problem from problem.__cause__


def _end_step(row: Row, step: int, ended: Ended) -> tuple[Row, Ended]:
    """Write that a step has ended, and what comes next: a request, a step, or nothing."""
    row = transitions.own_row(row)
    if step >= row.final_step:
        transitions.finish(row, ended)
        return row, ended
    request = _request_of(ended)
    done = memory.completed(row, step, request)
    if request is None:
        transitions.start_step(row, step + 1, ended, done)
    else:
        transitions.save_step(row, more=done)
    return row, ended


def _request_of(ended: Ended) -> Any:
    """Return the proxy request that a step has asked for, or None."""
    return ended.data.get("proxy") if isinstance(ended.data, dict) else None


def _fetch(row: Row, ended: Ended | None, request: Any) -> tuple[Any, dict[str, Any]]:
    """Make a request; return its time with the step that asked, and the next step's input."""
    from .proxy import fetching  # requests is slow to import, and few models have requests

    sessions.give_back()
    began = time.perf_counter()
    answer = fetching.fetch(row.get_task_info(), request)
    seconds = time.perf_counter() - began
    return ended and ended._replace(request_seconds=seconds), answer
