"""Call the handler of one step: the user's code, sync or async, and what it may answer."""

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any, TypeVar

from asgiref.sync import async_to_sync
from celery.exceptions import SoftTimeLimitExceeded

from .. import exceptions
from ..rows import (
    fence,
    greenlets,
    interruptions,
    sessions,
    task_info,
    transactions,
    transitions,
)
from ..rows.announcing import Ended
from ..rows.model import Row
from ..rows.transactions import savepoint
from . import retries

F = TypeVar("F", bound=Callable[..., Any])

ENDING = 5.0  # seconds that a coroutine has to end when its run is over
#: Packages whose frames are above the handler's in a traceback.
_NOT_THE_USERS = {__name__.partition(".")[0], "asgiref", "asyncio", "concurrent", "contextlib"}
_UNRUN = (GeneratorType, AsyncGeneratorType, CoroutineType)

#: What a step gets where no proxy request came before it.
NOT_PROXIED: dict[str, Any] = dict.fromkeys(
    ("proxied_content", "proxied_error", "proxied_status", "proxied_headers")
)


def marked(**marks: bool) -> Callable[[F], F]:
    """Mark a method, for Django (``alters_data``) or for :func:`has_handler`."""

    def mark(method: F) -> F:
        vars(method).update(marks)
        return method

    return mark


def has_handler(model: type[Row], step: int) -> bool:
    """Tell whether the user has written the handler of a step.

    By default that of step 1 is ``do_task_main``, which has to be written (marked ``is_missing``).
    """
    handler = getattr(model, task_info.handler(model, step), None)
    return callable(handler) and not getattr(handler, "is_missing", False)


def require_handlers(model: type[Row], first: int, last: int) -> None:
    """Raise 2910007 where a step has no handler; the row is left as it is."""
    for step in range(first, last + 1):
        if not has_handler(model, step):
            raise _no_handler(model, step)


def require_step(row: Row, step: Any) -> None:
    """Raise 2910007 where ``step``, which a caller has sent, is no step of the row."""
    if isinstance(step, bool) or not isinstance(step, int) or step > row.final_step:
        raise _no_handler(type(row), task_info.short(step))
    require_handlers(type(row), step, step)


def _no_handler(model: type[Row], step: int | str) -> exceptions.DjangoSimpleTask2Error:
    name, handler = model._meta.label_lower, task_info.handler_name(step)
    return exceptions.error(exceptions.NO_HANDLER, model=name, handler=handler)


class Raised(Exception):
    """What a handler has raised, before anything of it is written to the row."""

    def __init__(self, error: BaseException, ended: Ended) -> None:
        super().__init__(error)
        self.error, self.ended = error, ended


def call(row: Row, step: int, payload: dict[str, Any]) -> Ended:
    """Run the handler of a step; return what it returned, and its time.

    Whatever the handler raises, the row is written DONE and unsuccessful, and 2910009 is
    raised with that as its cause; or it is to be tried again, and Celery's Retry is raised. But
    2910014, where a save of the handler's own found the claim lost, and what ends the process on
    purpose are raised as they are.
    """
    try:
        return handle(row, step, payload)
    except Raised as raised:
        problem = failed(row, step, raised.error, raised.ended)
        raise problem from problem.__cause__


def handle(row: Row, step: int, payload: dict[str, Any]) -> Ended:
    """Run the handler of a step, and write nothing. Raises Raised, or as of :func:`call`."""
    began = time.perf_counter()
    try:
        with sessions.leaving_nothing_open(), savepoint(str(row._state.db)):
            data = getattr(row, task_info.handler_name(step))(payload)
            if inspect.isawaitable(data):
                _require_a_thread(row, step, data)
                data = _awaited(data)
            _require_that_all_has_run(row, step, data)
    except BaseException as error:
        is_claim_lost = isinstance(error, exceptions.ClaimLost) and _has_lost_its_claim(row)
        if interruptions.is_interruption(error) or is_claim_lost:  # this run's, no other row's
            raise
        ended = Ended(step, time.perf_counter() - began, error=error)
        error.__traceback__ = _of_the_user(error.__traceback__)
        raise Raised(error, ended) from error
    return Ended(step, time.perf_counter() - began, data)


def failed(row: Row, step: int, error: BaseException, ended: Ended | None = None) -> Exception:
    """Write the row DONE and unsuccessful; return the 2910009 that says why, and its cause.

    A durable row that has retries left is to be tried again: returns Celery's Retry. Raises
    ClaimLost where the row was ended before a time limit ended its handler.
    """
    next_one = retries.plan(row, error)
    error = next_one.reason
    if next_one.moment is not None:
        retry = retries.begin(row, next_one, ended)
        retry.__cause__ = error
        return retry
    more = ""
    try:
        transitions.fail(row, error, ended)
    except exceptions.ClaimLost as lost:
        if isinstance(error, SoftTimeLimitExceeded):
            raise
        more = f"; and also: {lost.message.rstrip('.')}"
    except exceptions.DjangoSimpleTask2Error as unsaved:
        more = f"; and also: {unsaved.message.rstrip('.')}"
    name = task_info.text(type(row), row.pk)  # a method of the row's own may have failed
    handler = task_info.handler(type(row), step)
    problem = exceptions.handler_failed(name, handler, error, more)
    problem.__cause__ = error
    return problem


def outcome(row: Row, step: int, data: Any) -> dict[str, Any]:
    """Return what a step's caller gets (section 3 of the compatibility page)."""
    return {
        "continue_flag": step < row.final_step,
        "task_info": row.get_task_info(),
        "next_step": step + 1,
        "data": data,
    }


def _has_lost_its_claim(row: Row) -> bool:
    """Tell whether a run has lost its claim; in an atomic step its rollback has to come first."""
    return not transactions.is_of_step(str(row._state.db)) and not fence.is_held(row)


def _of_the_user(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the user's first frame on; all of it where no frame is the user's."""
    one = frames
    while one is not None:
        if one.tb_frame.f_globals.get("__name__", "").partition(".")[0] not in _NOT_THE_USERS:
            return one
        one = one.tb_next
    return frames


def _require_a_thread(row: Row, step: int, answer: Awaitable[Any]) -> None:
    """Refuse an async handler where its loop would be seen by all rows of the process."""
    if pool := greenlets.kind():
        if isinstance(answer, CoroutineType):
            answer.close()  # or Python warns that it was never awaited
        handler = f"{type(row).__name__}.{task_info.handler(type(row), step)}"
        raise RuntimeError(
            f"{handler} is async, and {pool} has no thread for its event loop. Run such rows on a "
            "worker with -P prefork, threads or solo, in a channel of their own; or write the "
            "handler without async."
        )


def _awaited(answer: Awaitable[Any]) -> Any:
    """Await what an async handler has returned, in another thread; raise as it does."""
    tasks: list[asyncio.Task[Any]] = []
    ended = threading.Event()

    async def wait() -> Any:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            return await answer
        finally:
            ended.set()

    try:
        return async_to_sync(wait)()
    except BaseException:
        # A time limit, say, has ended this thread's wait: the coroutine would go on beside
        # the next rows.
        if tasks and not ended.is_set():
            tasks[0].get_loop().call_soon_threadsafe(tasks[0].cancel)
            ended.wait(ENDING)
        raise


def _require_that_all_has_run(row: Row, step: int, answer: Any) -> None:
    """Refuse generators and coroutines in a handler's answer: nothing of them has run."""
    name = f"{type(row).__name__}.{task_info.handler(type(row), step)}"
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
