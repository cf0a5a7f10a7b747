"""Renew the leases of the runs of this process, where DJANGO_SIMPLETASK2_HEARTBEAT asks.

Then leases can be short, so that a dead node's rows run again soon, and long handlers still
run once. A handler that keeps Python from switching threads is not renewed, nor is a process
that is stopped.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections

from ..conf import conf
from ..rows import transitions
from ..rows.model import Row

logger = logging.getLogger(__name__)

_runs: dict[int, Row] = {}
_starting = threading.Lock()
_thread: threading.Thread | None = None  # one for all runs of this process


@contextmanager
def beating(row: Row) -> Iterator[None]:
    """Renew the row's lease every some seconds, for as long as its run lasts."""
    global _thread
    if not conf.heartbeat:
        yield
        return
    _runs[id(row)] = row
    with _starting:
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_beat, name="simpletask2-heartbeat", daemon=True)
            _thread.start()
    try:
        yield
    finally:
        del _runs[id(row)]


def _beat() -> None:
    rest = threading.Event()
    while not rest.wait(conf.heartbeat or 1.0):
        for row in list(_runs.values()):
            try:
                transitions.renew(row)
            except Exception as error:
                logger.warning("A lease was not renewed: %r", error)
        try:
            connections.close_all()  # of this thread, which has its own
        except Exception as error:
            logger.warning("A connection could not be closed: %r", error)


def _forget_parent() -> None:
    global _starting, _thread
    _starting, _thread = threading.Lock(), None
    _runs.clear()


os.register_at_fork(after_in_child=_forget_parent)
