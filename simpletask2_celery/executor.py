"""Run a row: claim, step 1, proxy, step 2, … finish; every arrow is one fenced write."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from . import heartbeat, interruptions, sessions, signals, state, steps
from .exceptions import DjangoSimpleTask2Error
from .models import SimpleTask

Held = Callable[[SimpleTask], AbstractContextManager[None]]


def run(
    model: type[SimpleTask],
    using: str,
    pk: Any,
    force: bool = False,
    held: Held | None = None,
) -> dict[str, Any]:
    """Run the row to its end and return what its last step returned, with its name.

    ``held`` is entered with the claimed row for as long as the run lasts.

    Raises DjangoSimpleTask2Error: 2910004, 2910008, 2910013 or 2910015 where there is
    nothing to do, 2910007, 2910009, 2910010 or 2910014 where the run failed.
    """
    steps.require_handlers(model, 1, model.final_step)
    row = state.claim(model, using, pk, force)
    try:
        with (
            _ending_by_itself(row),
            held(row) if held else nullcontext(),
            heartbeat.beating(row),
            _ending_by_itself(row),
        ):
            return _run_steps(row)
    finally:
        row._fence = None  # whoever has kept the row saves it as anybody else does


@contextmanager
def _ending_by_itself(row: SimpleTask) -> Iterator[None]:
    """Fail the row for what is raised outside of its handlers, too: by a user's method.

    Or by a time limit, between two handlers. A row that has ended stays as it is.
    """
    try:
        yield
    except DjangoSimpleTask2Error:
        raise
    except BaseException as error:
        if interruptions.is_interruption(error) or row._fence is None:
            raise
        raise steps.failed(row, row.current_step or 1, error) from error


def _run_steps(row: SimpleTask) -> dict[str, Any]:
    signals.started(row)
    payload: dict[str, Any] = {}
    data: Any = None
    for step in range(1, row.final_step + 1):
        if step > 1:
            payload = _between(row, data)
            state.start_step(row, step)
        payload = {"task_info": row.get_task_info(), "step": step, **payload}
        sessions.give_back()  # a handler may work for long without it
        data = steps.call(row, step, payload)
        row = state.own_row(row)
    state.finish(row)
    return steps.outcome(row, row.final_step, data)


def _between(row: SimpleTask, data: Any) -> dict[str, Any]:
    """Make the request that a step asked for; return what the next step gets."""
    request = steps.requested(data)
    if request is None:
        return dict(steps.NOT_PROXIED)
    from . import proxy  # requests is slow to import, and not every project has such steps

    state.save_step(row)
    sessions.give_back()
    began = time.perf_counter()
    answer = proxy.fetch(row.get_task_info(), request)
    if row._fence is not None and row._fence.ended is not None:
        seconds = time.perf_counter() - began
        row._fence.ended = row._fence.ended._replace(request_seconds=seconds)
    return answer
