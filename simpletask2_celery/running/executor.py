"""Run a row: claim, step 1, proxy, step 2, … finish; every arrow is one conditional write."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ..exceptions import ClaimLost, DjangoSimpleTask2Error, RowEnded
from ..rows import announcing, claiming, fence, interruptions, sessions, transitions
from ..rows.announcing import Ended
from ..rows.model import Row
from . import heartbeat, steps

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


@contextmanager
def _failing_the_row(row: Row) -> Iterator[None]:
    """Fail the row for errors outside of its handlers: of another method of the user's, say.

    A time limit may come between two handlers, too. A row that has ended stays as it is.
    """
    try:
        yield
    except DjangoSimpleTask2Error:
        raise
    except BaseException as error:
        if interruptions.is_interruption(error) or fence.of(row) is None:
            raise
        raise steps.failed(row, row.current_step or 1, error) from error


def _run_steps(row: Row) -> dict[str, Any]:
    announcing.started(row)
    ended = _call(row, 1, {})
    for step in range(2, row.final_step + 1):
        row = transitions.own_row(row)
        ended, answer = _fetch(row, ended)
        transitions.start_step(row, step, ended)
        ended = _call(row, step, answer)
    row = transitions.own_row(row)
    transitions.finish(row, ended)
    return steps.outcome(row, row.final_step, ended.data)


def _call(row: Row, step: int, answer: dict[str, Any]) -> Ended:
    payload = {"task_info": row.get_task_info(), "step": step, **answer}
    sessions.give_back()  # a handler may work for long without it
    return steps.call(row, step, payload)


def _fetch(row: Row, ended: Ended) -> tuple[Ended, dict[str, Any]]:
    """Make the request that a step asked for; return its time and the next step's input."""
    request = ended.data.get("proxy") if isinstance(ended.data, dict) else None
    if request is None:
        return ended, dict(steps.NOT_PROXIED)
    from .proxy import fetching  # requests is slow to import, and few models have requests

    transitions.save_step(row)
    sessions.give_back()
    began = time.perf_counter()
    answer = fetching.fetch(row.get_task_info(), request)
    return ended._replace(request_seconds=time.perf_counter() - began), answer
