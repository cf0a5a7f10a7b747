"""Run an async handler to its end, from a worker's sync code."""

import asyncio
import threading
from collections.abc import Awaitable
from typing import Any

from asgiref.sync import async_to_sync

ENDING = 5.0  # seconds that a coroutine has to end when its run is over


def run(answer: Awaitable[Any]) -> Any:
    """Await what an async handler has returned; raise as it does.

    asgiref runs it in a loop of its own, in another thread. Where this thread is told that
    the run is over, by a time limit, the coroutine is cancelled and given some seconds to
    end: it would go on beside the next rows.
    """
    running = _Running(answer)
    try:
        return async_to_sync(running.run)()
    except BaseException:
        running.cancel()
        raise


class _Running:
    """A coroutine in its loop, and what another thread needs to cancel it."""

    def __init__(self, answer: Awaitable[Any]) -> None:
        self._answer = answer
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._ended = threading.Event()

    async def run(self) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self._task = asyncio.get_running_loop(), task
        try:
            return await self._answer
        finally:
            self._ended.set()

    def cancel(self) -> None:
        """Cancel it unless it has ended, and wait for its end."""
        if self._task is None or self._ended.is_set():
            return
        loop, task = self._task
        loop.call_soon_threadsafe(task.cancel)
        self._ended.wait(ENDING)
