"""What a command hears and shows at its terminal: Ctrl-C, and how far it is."""

import signal
import threading
import time
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
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_main:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, *args: object) -> None:
        is_first, self.came = not self.came, True
        if self._raises or not is_first:
            raise KeyboardInterrupt


class Progress:
    """How far it is: a line that is rewritten on a terminal, else one every few seconds."""

    def __init__(self, out: Any, total: int) -> None:
        self._out, self._total = out, total
        self._is_terminal = out.isatty()
        self._last = time.monotonic()
        self._is_open = False  # a line that has no end yet

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_open:
            self._out.write("", str)

    def show(self, done: int) -> None:
        """Say that ``done`` rows are done, unless it was said a moment ago."""
        if time.monotonic() - self._last < (0.2 if self._is_terminal else EVERY):
            return
        self._last = time.monotonic()
        text = translate("{done} of {total} rows").format(done=done, total=self._total)
        if self._is_terminal:
            self._out.write(f"\r{text}\x1b[K", str, ending="")
            self._out.flush()
            self._is_open = True
        else:
            self._out.write(text, str)
