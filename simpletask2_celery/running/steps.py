"""Call the handler of one step: the user's code, and what it may answer."""

import inspect
import time
from collections.abc import Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeVar

from .. import exceptions
from ..rows import fence, interruptions, sessions, task_info, transitions
from ..rows.announcing import Ended
from ..rows.model import Row
from ..rows.transactions import savepoint
from . import asynchronous

F = TypeVar("F", bound=Callable[..., Any])

_UNRUN = (GeneratorType, AsyncGeneratorType, CoroutineType)

#: What a step gets that no proxy request came before.
NOT_PROXIED: dict[str, Any] = {
    "proxied_content": None,
    "proxied_error": None,
    "proxied_status": None,
    "proxied_headers": None,
}


# -- which handlers there are ----------------------------------------------------------------


def missing(method: F) -> F:
    """Mark a method that stands where the user's handler is to be."""
    method.is_missing = True  # type: ignore[attr-defined]
    return method


def whole_task(method: F) -> F:
    """Mark the first step that is ``do_task_main``."""
    method.is_whole_task = True  # type: ignore[attr-defined]
    return method


def handler_name(step: int | str) -> str:
    """Return the name of the method that handles a step."""
    return f"do_task_main_step{step}"


def has_handler(model: type[Row], step: int) -> bool:
    """Tell whether the user has written the handler of a step."""
    handler = getattr(model, handler_name(step), None)
    if getattr(handler, "is_whole_task", False):
        handler = getattr(model, "do_task_main", None)
    return callable(handler) and not getattr(handler, "is_missing", False)


def require_handlers(model: type[Row], first: int, last: int) -> None:
    """Raise 2910007 where a step has no handler; the row is left as it is."""
    for step in range(first, last + 1):
        if not has_handler(model, step):
            raise exceptions.error(
                exceptions.NO_HANDLER,
                model=model._meta.label_lower,
                handler=handler_name(step),
            )


def require_step(row: Row, step: Any) -> None:
    """Raise 2910007 where ``step``, whatever was sent as it, is no step of the row."""
    if isinstance(step, bool) or not isinstance(step, int) or step > row.final_step:
        raise exceptions.error(
            exceptions.NO_HANDLER,
            model=row._meta.label_lower,
            handler=handler_name(task_info.short(step)),
        )
    require_handlers(type(row), step, step)


# -- the call --------------------------------------------------------------------------------


def call(row: Row, step: int, payload: dict[str, Any]) -> Ended:
    """Run the handler of a step, sync or async; return what it returned, and its time.

    Raises 2910009 with what the handler raised as its cause, whatever that is, after the
    row was written DONE and unsuccessful; 2910014 where a save of the handler's own found
    the claim lost. What ends the process on purpose is raised as it is.
    """
    began = time.perf_counter()
    try:
        with sessions.leaving_nothing_open(), savepoint(str(row._state.db)):
            data = _answer(row, step, payload)
    except BaseException as error:
        if interruptions.is_interruption(error) or _is_own_claim_lost(row, error):
            raise
        ended = Ended(step, time.perf_counter() - began, error=error)
        raise failed(row, step, error, ended) from error
    return Ended(step, time.perf_counter() - began, data)


def failed(
    row: Row, step: int, error: BaseException, ended: Ended | None = None
) -> exceptions.DjangoSimpleTask2Error:
    """Write the row DONE and unsuccessful; return the 2910009 that says why."""
    more = ""
    try:
        transitions.fail(row, error, ended)
    except exceptions.DjangoSimpleTask2Error as unsaved:
        more = f"; and also: {unsaved.message.rstrip('.')}"
    name = task_info.text(type(row), row.pk)  # a method of the row's own may have failed
    return exceptions.handler_failed(name, step, error, more)


def requested(data: Any) -> Any:
    """Return the proxy request that a handler's answer asks for, or None."""
    return data.get("proxy") if isinstance(data, dict) else None


def outcome(row: Row, step: int, data: Any) -> dict[str, Any]:
    """Return what a step's caller gets (section 3 of the compatibility page)."""
    return {
        "continue_flag": step < row.final_step,
        "task_info": row.get_task_info(),
        "next_step": step + 1,
        "data": data,
    }


def _answer(row: Row, step: int, payload: dict[str, Any]) -> Any:
    answer = getattr(row, handler_name(step))(payload)
    if inspect.isawaitable(answer):
        answer = asynchronous.run(answer)
    _require_that_all_has_run(row, step, answer)
    return answer


def _require_that_all_has_run(row: Row, step: int, answer: Any) -> None:
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


def _is_own_claim_lost(row: Row, error: BaseException) -> bool:
    """Tell whether an error says that this run, and no other row's, has lost its claim."""
    return isinstance(error, exceptions.ClaimLost) and not fence.is_held(row)
