"""Give back the claims of dead processes, within a second and by proof of death.

A thread of each worker looks at the notes of ``claims`` four times a second. A note whose
process is dead is a run that will never end: its row becomes READY again and is
published, by an UPDATE that asks for that run's token. When a whole worker was killed,
the next one of its node name finds the file. A node that is gone for good is the
lease's business.
"""

import datetime
import logging
import os
import threading
from typing import Any

from celery import signals
from celery.exceptions import TimeLimitExceeded
from django.utils.translation import gettext as translate

from ..publishing import publisher
from ..rows import task_info, transitions
from ..rows.model import Row
from ..rows.no_fork import NoFork, expect_forks
from . import lost_runs
from .board import Board, board_path, post_on, process_identity

logger = logging.getLogger(__name__)

POLL = 0.25  # seconds between two looks at the notes
PATIENCE = 240  # failed looks after which a note is left to the lease


class Keeper(threading.Thread):
    """Looks after the notes of one node: this worker's, and those of its dead ones."""

    def __init__(self, node: str) -> None:
        super().__init__(name="simpletask2-keeper", daemon=True)
        self._path = board_path(node)
        identity = process_identity(os.getpid()) or []
        self.board = Board(self._path.with_suffix("." + "-".join(map(str, identity))))
        self.board.own()
        self._failures: dict[str, int] = {}
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look at the notes until the worker ends."""
        while not self._stopped.wait(POLL):
            try:
                self.look()
            except Exception as error:  # the next look may do better
                logger.warning("Notes of claims could not be read: %r", error)

    def look(self) -> None:
        """Release what dead processes had claimed; delete the files of dead workers."""
        self._look_at(self.board)
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            if path != self.board.path:
                self._look_at_another(Board(path, new=False))

    def _look_at_another(self, board: Board) -> None:
        try:
            if board.own():  # its worker is dead; a child of it may live still
                self._look_at(board)
                board.delete_if_empty()
        finally:
            board.close()

    def stop(self) -> None:
        """End; the file stays if a process was killed over its note."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout=5)
        post_on(None)
        self.board.delete_if_empty()
        self.board.close()

    def _look_at(self, board: Board) -> None:
        for slot, note in board.notes():
            if board.is_abandoned(slot, note) and self._is_dealt_with(note):
                board.wipe(slot)

    def _is_dealt_with(self, note: dict[str, Any]) -> bool:
        try:
            with NoFork():
                release(note)
        except Exception as error:
            failures = self._failures.get(note["task_id"], 0) + 1
            self._failures[note["task_id"]] = failures
            if failures == 1:
                name, kind = _name(note), type(error).__name__
                about = {"task_info": name}
                logger.warning("%s: not released yet (%s)", name, kind, extra=about)
            return failures >= PATIENCE
        self._failures.pop(note["task_id"], None)
        return True


def release(note: dict[str, Any]) -> None:
    """Make the row of a lost run READY and publish it, or give it up.

    Does nothing where the row has gone on without that run. Raises DatabaseError.
    """
    model, using, pk = task_info.named_row(
        Row, note["app_label"], note["model"], note["id"], note["using"]
    )
    token = datetime.datetime.fromisoformat(note["token"])
    claimed = model._base_manager.using(using).filter(pk=pk, start_time=token)
    row = claimed.filter(status=Row.DOING).first()
    if row is None:
        return
    if note["timed_out"]:
        text = translate("the run was longer than its time limit, do_task_timeout")
        lost_runs.give_up_for(row, TimeLimitExceeded(text))
    elif lost_runs.give_up([row], wait=True) and transitions.release(row):
        name = row.get_task_info()
        about = {"task_info": name, "step": row.current_step}
        logger.warning("%s: its process died; READY again.", name, extra=about)
        row.refresh_from_db()
        publisher.publish_on_commit([row], using=using)


def _name(note: dict[str, Any]) -> str:
    return f"{note['app_label']}.{note['model']}:{note['id']}"


# -- the worker's signals ----------------------------------------------------------------

_keepers: list[Keeper] = []


def begin(worker: Any) -> None:
    """Let this Celery worker, about to fork its pool, note its claims and keep them."""
    signals.worker_ready.connect(_start)
    signals.worker_shutdown.connect(_stop)
    signals.task_failure.connect(_note_time_limit)
    try:
        _keepers[:] = [Keeper(worker.hostname)]
    except OSError as error:  # no folder to write to: leases alone
        logger.warning("Claims are not noted, leases alone recover rows: %s", error)
        return
    post_on(_keepers[0].board)


def _start(sender: Any, **kwargs: object) -> None:
    expect_forks(sender.pool)
    for keeper in _keepers:
        keeper.start()


def _stop(**kwargs: object) -> None:
    while _keepers:
        _keepers.pop().stop()


def _note_time_limit(task_id: str, exception: object, **kwargs: object) -> None:
    if isinstance(exception, TimeLimitExceeded):
        for keeper in _keepers:
            keeper.board.mark_timed_out(task_id)
