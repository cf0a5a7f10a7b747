"""What a command hears and shows at its terminal: Ctrl-C, and how far it is."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from django.utils.translation import gettext as translate

EVERY = 5.0  # seconds between two lines of progress, where the output is no terminal
INTERRUPTED = 130  # the exit code of what SIGINT has ended


class Interrupt:
    """Ctrl-C is noted; the second one raises KeyboardInterrupt, or each with ``raises``."""

    def __init__(self, raises: bool = False) -> None:
        self.came = False
        self._raises = raises

    def __enter__(self) -> Self:
        self._is_main = threading.current_thread() is threading.main_thread()
        if self._is_main:  # Python lets no other thread hear signals
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, *args: object) -> None:
        is_first, self.came = not self.came, True
        if self._raises or not is_first:
            raise KeyboardInterrupt


@contextmanager
def progress(out: Any, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that shows how many rows are done, unless it did so a moment ago.

    On a terminal it rewrites its line; otherwise it writes one every few seconds.
    """
    is_terminal, is_line_open, last = out.isatty(), False, time.monotonic()

    def show(done: int) -> None:
        nonlocal is_line_open, last
        if time.monotonic() - last < (0.2 if is_terminal else EVERY):
            return
        last = time.monotonic()
        text = translate("{done} of {total} rows").format(done=done, total=total)
        if is_terminal:
            out.write(f"\r{text}\x1b[K", str, ending="")
            out.flush()
            is_line_open = True
        else:
            out.write(text, str)

    try:
        yield show
    finally:
        if is_line_open:
            out.write("", str)
