"""Give back the claims of dead processes, within a second and by proof of death.

A thread of each worker looks at the notes of ``board`` four times a second. A note whose
process is dead is of a run that will never end: its row becomes READY again and is published,
by an UPDATE that asks for that run's token. When a whole worker was killed, the next one of its
node name finds the file. The rows of a node that is gone for good wait for their leases.
"""

import datetime
import logging
import os
from collections import Counter
from contextlib import closing
from typing import Any

from celery import signals
from celery.exceptions import TimeLimitExceeded
from django.utils.translation import gettext as translate

from ..publishing import publisher
from ..rows import lookup, states, transitions
from ..rows.no_fork import NoFork
from . import lost_runs
from .board import Board, board_path, post_on, process_identity
from .threads import WorkerThread, run_in_worker

logger = logging.getLogger(__name__)

POLL = 0.25  # seconds between two looks at the notes
PATIENCE = 240  # failed looks after which a note is left to the lease


class Keeper(WorkerThread):
    """Looks after the notes of one node: this worker's, and those of its dead ones."""

    def __init__(self, node: str) -> None:
        """Open a board for this worker. Raises OSError where there is no place for it."""
        super().__init__("keeper", POLL)
        self._path = board_path(node)
        identity = process_identity(os.getpid()) or []
        self.board = Board(self._path.with_suffix("." + "-".join(map(str, identity))))
        self.board.own()
        self._failures: Counter[str] = Counter()  # of each Celery task's note

    def look(self) -> float:
        """Release the claims of dead processes; delete the files of dead workers."""
        self._look_at(self.board)
        for path in self._path.parent.glob(f"{self._path.name}.*"):
            if path == self.board.path:
                continue
            with closing(Board(path, new=False)) as board:
                if board.own():  # its worker is dead; a child of it may still live
                    self._look_at(board)
                    board.delete_if_empty()
        return POLL

    def stop(self) -> None:
        """End; the file stays if a process was killed over its note."""
        super().stop()
        if self.is_alive():
            self.join(timeout=5)
        post_on(None)
        self.board.delete_if_empty()
        self.board.close()

    def remember_time_limit(self, task_id: str, exception: object, **kwargs: object) -> None:
        """Remember that a run is being killed for its time limit, not by accident."""
        if isinstance(exception, TimeLimitExceeded):
            self.board.mark_timed_out(task_id)

    def _look_at(self, board: Board) -> None:
        for slot, note in board.notes():
            if board.is_abandoned(slot, note) and self._is_settled(note):
                board.wipe(slot)

    def _is_settled(self, note: dict[str, Any]) -> bool:
        """Release the row of a note; False if that is to be tried again."""
        try:
            with NoFork():
                release(note)
        except Exception as error:
            self._failures[note["task_id"]] += 1
            if self._failures[note["task_id"]] == 1:
                name = f"{note['app_label']}.{note['model']}:{note['id']}"
                kind, about = type(error).__name__, {"task_info": name}
                logger.warning("%s: not released yet (%s)", name, kind, extra=about)
            return self._failures[note["task_id"]] >= PATIENCE
        del self._failures[note["task_id"]]
        return True


def release(note: dict[str, Any]) -> None:
    """Make the row of a lost run READY and publish it, or give it up.

    Does nothing where the row has gone on without that run. Raises DatabaseError.
    """
    model, using, pk = lookup.named_row(note["app_label"], note["model"], note["id"], note["using"])
    token = datetime.datetime.fromisoformat(note["token"])
    claimed = model._base_manager.using(using).filter(pk=pk, start_time=token)
    row = claimed.filter(status=states.DOING).first()
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


def begin(worker: Any) -> None:
    """Let this Celery worker, about to fork its pool, note its claims and keep them."""
    try:
        keeper = Keeper(worker.hostname)
    except OSError as error:  # no folder to write to
        logger.warning("Claims are not noted, leases alone recover rows: %s", error)
        return
    post_on(keeper.board)
    run_in_worker(lambda sender: keeper, end=signals.worker_shutdown)
    signals.task_failure.connect(keeper.remember_time_limit, weak=False)
