"""Call the handler of one step: the user's code, and what it may answer."""

import inspect
import time
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any

from . import asynchronous, exceptions, interruptions, savepoint, sessions, state, task_info
from .signals import Ended

if TYPE_CHECKING:
    from .models import SimpleTask


_UNRUN = (GeneratorType, AsyncGeneratorType, CoroutineType)

#: What a step gets that no proxy request came before.
NOT_PROXIED: dict[str, Any] = {
    "proxied_content": None,
    "proxied_error": None,
    "proxied_status": None,
    "proxied_headers": None,
}


def requested(data: Any) -> Any:
    """Return the proxy request that a handler's answer asks for, or None."""
    return data.get("proxy") if isinstance(data, dict) else None


def handler_name(step: int | str) -> str:
    """Return the name of the method that handles a step."""
    return f"do_task_main_step{step}"


def require_handlers(model: "type[SimpleTask]", first: int, last: int) -> None:
    """Raise 2910007 where a step has no handler; the row is left as it is."""
    for step in range(first, last + 1):
        if not model._has_handler(step):
            raise exceptions.error(
                exceptions.NO_HANDLER,
                model=model._meta.label_lower,
                handler=handler_name(step),
            )


def require_step(row: "SimpleTask", step: Any) -> None:
    """Raise 2910007 where ``step``, whatever was sent as it, is no step of the row."""
    if isinstance(step, bool) or not isinstance(step, int) or step > row.final_step:
        raise exceptions.error(
            exceptions.NO_HANDLER,
            model=row._meta.label_lower,
            handler=handler_name(task_info.short(step)),
        )
    require_handlers(type(row), step, step)


def call(row: "SimpleTask", step: int, payload: dict[str, Any]) -> Any:
    """Run the handler of a step, sync or async, and return what it returned.

    Raises 2910009 with what the handler raised as its cause, whatever that is, after the
    row was written DONE and unsuccessful; 2910014 where a save of the handler's own found
    the claim lost. What ends the process on purpose is raised as it is.
    """
    try:
        with sessions.leaving_nothing_open(), savepoint.around(str(row._state.db)):
            return _timed(row, step, payload)
    except BaseException as error:
        if interruptions.is_interruption(error) or _is_own_claim_lost(row, error):
            raise
        raise failed(row, step, error) from error


def _timed(row: "SimpleTask", step: int, payload: dict[str, Any]) -> Any:
    fence = row._fence
    assert fence is not None
    began = time.perf_counter()
    try:
        answer = getattr(row, handler_name(step))(payload)
        if inspect.isawaitable(answer):
            answer = asynchronous.run(answer)
        _require_that_all_has_run(row, step, answer)
    except BaseException as error:
        fence.ended = Ended(step, time.perf_counter() - began, error)
        raise
    fence.ended = Ended(step, time.perf_counter() - began, None)
    return answer


def _require_that_all_has_run(row: "SimpleTask", step: int, answer: Any) -> None:
    """Refuse generators and coroutines in a handler's answer: nothing of them has run."""
    name = f"{type(row).__name__}.{handler_name(step)}"
    if isinstance(answer, _UNRUN):
        raise TypeError(
            f"{name} returned a generator, which nobody runs: a handler has no yield, and "
            "returns what it has to say."
        )
    if not isinstance(answer, (list, tuple, set, dict)):
        return
    parts = answer.values() if isinstance(answer, dict) else answer
    unrun = [part for part in parts if isinstance(part, _UNRUN)]
    for part in unrun:
        if isinstance(part, CoroutineType):
            part.close()  # or Python warns that it was never awaited
    if unrun:
        raise TypeError(
            f"{name} returned a {type(unrun[0]).__name__} among others, which nobody runs: "
            "await it, or run it, in the handler."
        )


def _is_own_claim_lost(row: "SimpleTask", error: BaseException) -> bool:
    """Tell whether an error says that this run, and no other row's, has lost its claim."""
    return isinstance(error, exceptions.ClaimLost) and not state.has_claim(row)


def failed(
    row: "SimpleTask", step: int, error: BaseException
) -> exceptions.DjangoSimpleTask2Error:
    """Write the row DONE and unsuccessful; return the 2910009 that says why."""
    more = ""
    try:
        state.fail(row, error)
    except exceptions.DjangoSimpleTask2Error as unsaved:
        more = f"; and also: {unsaved.message.rstrip('.')}"
    name = task_info.text(type(row), row.pk)  # a method of the row's own may have failed
    return exceptions.handler_failed(name, step, error, more)


def outcome(row: "SimpleTask", step: int, data: Any) -> dict[str, Any]:
    """Return what a step's caller gets (compatibility facts, section 3)."""
    return {
        "continue_flag": step < row.final_step,
        "task_info": row.get_task_info(),
        "next_step": step + 1,
        "data": data,
    }
