"""Call the handler of one step: the user's code, and what it may answer."""

import inspect
import time
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from celery.exceptions import SoftTimeLimitExceeded

from . import exceptions, savepoint, state, task_info
from .signals import Ended

if TYPE_CHECKING:
    from .models import SimpleTask


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

    Raises 2910009 with the handler's exception as its cause, after the row was
    written DONE and unsuccessful; 2910014 where a save of the handler's own found
    the claim lost.
    """
    try:
        with savepoint.around(str(row._state.db)):
            return _timed(row, step, payload)
    except exceptions.ClaimLost:
        raise
    except BaseException as error:
        if not (isinstance(error, Exception) or is_time_limit(error)):
            raise
        raise failed(row, step, error) from error


def _timed(row: "SimpleTask", step: int, payload: dict[str, Any]) -> Any:
    fence = row._fence
    assert fence is not None
    began = time.perf_counter()
    try:
        answer = getattr(row, handler_name(step))(payload)
        if inspect.isawaitable(answer):
            answer = async_to_sync(_awaited)(answer)
    except BaseException as error:
        fence.ended = Ended(step, time.perf_counter() - began, error)
        raise
    fence.ended = Ended(step, time.perf_counter() - began, None)
    return answer


def is_time_limit(error: BaseException) -> bool:
    """Tell whether a run ends because its time is over.

    Celery's soft limit, or what ends a greenlet: the Timeout of gevent and eventlet is no
    Exception, and Celery uses it for its hard limit.
    """
    return isinstance(error, SoftTimeLimitExceeded) or any(
        kind.__name__ == "Timeout" and kind.__module__.startswith(("gevent.", "eventlet."))
        for kind in type(error).__mro__
    )


async def _awaited(answer: Any) -> Any:
    return await answer


def failed(
    row: "SimpleTask", step: int, error: BaseException
) -> exceptions.DjangoSimpleTask2Error:
    """Write the row DONE and unsuccessful; return the 2910009 that says why."""
    text = f"{type(error).__name__}: {error}"
    try:
        state.fail(row, error)
    except exceptions.DjangoSimpleTask2Error as unsaved:
        text += f"; and also: {unsaved.message.rstrip('.')}"
    return exceptions.error(
        exceptions.HANDLER_FAILED,
        task_info=row.get_task_info(),
        handler=handler_name(step),
        error=text,
    )


def outcome(row: "SimpleTask", step: int, data: Any) -> dict[str, Any]:
    """Return what a step's caller gets (compatibility facts, section 3)."""
    return {
        "continue_flag": step < row.final_step,
        "task_info": row.get_task_info(),
        "next_step": step + 1,
        "data": data,
    }
