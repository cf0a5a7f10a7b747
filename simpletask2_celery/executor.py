"""Run a row: claim, step 1, proxy, step 2, … finish; every arrow is one fenced write."""

from typing import Any

from . import proxy, state, steps
from .models import SimpleTask


def run(
    model: type[SimpleTask], using: str, pk: Any, force: bool = False
) -> dict[str, Any]:
    """Run the row to its end and return what its last step returned, with its name.

    Raises DjangoSimpleTask2Error: 2910004, 2910008, 2910013 or 2910015 where there is
    nothing to do, 2910007, 2910009, 2910010 or 2910014 where the run failed.
    """
    steps.require_handlers(model, 1, model.final_step)
    row = state.claim(model, using, pk, force)
    payload: dict[str, Any] = {}
    data: Any = None
    for step in range(1, row.final_step + 1):
        if step > 1:
            payload = _between(row, data)
            state.start_step(row, step)
        payload = {"task_info": row.get_task_info(), "step": step, **payload}
        data = steps.call(row, step, payload)
    state.finish(row)
    return steps.outcome(row, row.final_step, data)


def _between(row: SimpleTask, data: Any) -> dict[str, Any]:
    """Make the request that a step asked for; return what the next step gets."""
    request = proxy.requested(data)
    if request is None:
        return dict(proxy.NOTHING)
    state.save_step(row)
    return proxy.fetch(row.get_task_info(), request)
