"""Run a row: claim, step 1, proxy, step 2, … finish; every arrow is one conditional write."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
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
from .requesting import Answer, InPlace, Requests

MOST_ATTEMPTS = 100  # of a row that is run until it is DONE

#: Makes a context of a claimed row, entered for as long as its run lasts.
Noted = Callable[[Row], AbstractContextManager[object]]


def run(
    model: type[Row],
    using: str,
    pk: Any,
    force: bool = False,
    noted: Noted = nullcontext,
    requests: Requests | None = None,
) -> dict[str, Any]:
    """Run the row to its end and return what its last step returned, with its name.

    Where ``requests`` hands a request over, the run ends after the step that has asked for it.

    Raises DjangoSimpleTask2Error: 2910004, 2910008, 2910013 or 2910015 where there is
    nothing to do, 2910007, 2910009, 2910010 or 2910014 where the run failed. The last two are a
    RowEnded where somebody has ended the row.
    """
    steps.require_handlers(model, 1, model.final_step)
    row = claiming.claim(model, using, pk, force)
    return _run_claimed(row, noted, partial(_run_steps, requests=requests or InPlace()))


def go_on(
    model: type[Row],
    using: str,
    pk: Any,
    back: Answer,
    noted: Noted = nullcontext,
    requests: Requests | None = None,
) -> dict[str, Any]:
    """Go on with a row whose request was handed over and is answered; otherwise as ``run``.

    Raises AnswerLate where there is nothing to do.
    """
    steps.require_handlers(model, back.step + 1, model.final_step)
    row = claiming.go_on(model, using, pk, back.step, back.token)
    rest = partial(_run_on, step=back.step + 1, requests=requests or InPlace())

    def run_on(row: Row) -> dict[str, Any]:
        announcing.step_ended(row, back.ended)
        return rest(row, answer=back.answer)

    return _run_claimed(row, noted, run_on)


def _run_claimed(row: Row, noted: Noted, run_on: Callable[[Row], dict[str, Any]]) -> dict[str, Any]:
    """Run what is left of a claimed row, noted on the board and with a beating heart."""
    model, using, pk, token = type(row), str(row._state.db), row.pk, row.start_time
    try:
        with (
            _failing_the_row(row),
            noted(row),
            heartbeat.beating(row),
            _failing_the_row(row),
        ):
            return run_on(row)
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


def _run_steps(row: Any, requests: Requests) -> dict[str, Any]:
    announcing.started(row)
    step = row.current_step or 1
    if step > row.final_step:  # its last step is completed: a reset that resumes has made it READY
        transitions.finish(row)
        return steps.outcome(row, row.final_step, getattr(row, "return_value", None))
    if step == 1:
        return _run_on(row, step, {}, requests)
    pending = row.pending_request
    if pending is None:
        return _run_on(row, step, dict(steps.NOT_PROXIED), requests)
    # Once more: its answer is not kept.
    before = step - 1
    if columns := requests.columns(row, before, pending):
        transitions.save_step(row, more=columns)
    _, answer = requests.make(row, before, None, pending)
    if answer is None:
        return _left(row, before)
    if columns:
        transitions.start_step(row, step)
    return _run_on(row, step, answer, requests)


def _run_on(row: Row, step: int, answer: dict[str, Any], requests: Requests) -> dict[str, Any]:
    """Run the steps from ``step`` on; return what the last one, or one that hands over, brings."""
    while True:
        row, ended = _run_step(row, step, answer, requests)
        if step >= row.final_step:
            return steps.outcome(row, row.final_step, ended.data)
        request = _request_of(ended)
        if request is None:
            answer = dict(steps.NOT_PROXIED)
        else:
            told, brought = requests.make(row, step, ended, request)
            if brought is None:
                return _left(row, step)
            answer = brought
            transitions.start_step(row, step + 1, told)
        step += 1


def _left(row: Row, step: int) -> dict[str, Any]:
    """End the run of a row whose next step another run starts, perhaps at this moment."""
    fence.lift(row)
    return steps.outcome(row, step, None)


def _run_step(row: Row, step: int, answer: dict[str, Any], requests: Requests) -> tuple[Row, Ended]:
    """Run one step and write its end; of a durable row in one transaction, if it says so."""
    payload = {"task_info": row.get_task_info(), "step": step, **answer}
    sessions.give_back()  # a handler may work for long without it
    if not (row._is_durable and getattr(row, "atomic_steps", False)):
        return _end_step(row, step, steps.call(row, step, payload), requests)
    own = fence.of(row)
    try:
        return atomic_steps.once(
            row, step, lambda row: _end_step(row, step, steps.handle(row, step, payload), requests)
        )
    except steps.Raised as raised:
        if own is not None:
            row = atomic_steps.reload(row, own)
        problem = steps.failed(row, step, raised.error, raised.ended)
        raise problem from problem.__cause__


def _end_step(row: Row, step: int, ended: Ended, requests: Requests) -> tuple[Row, Ended]:
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
        transitions.save_step(row, more=done | requests.columns(row, step, request))
    return row, ended


def _request_of(ended: Ended) -> Any:
    """Return the proxy request that a step has asked for, or None."""
    return ended.data.get("proxy") if isinstance(ended.data, dict) else None
