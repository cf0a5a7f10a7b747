"""What each process of a worker runs, noted where it outlives the process.

Each worker maps a file into memory before its pool forks. A run notes its claim in a slot of
its own and wipes it at the end, which costs some microseconds and no I/O. A process keeps a
lock on its slots' bytes, and the kernel takes the lock away when the process dies: a note
without a lock proves that its run is over. ``keeper`` reads the notes. Outside of a worker
nothing is noted.
"""

import fcntl
import json
import mmap
import os
import stat
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.utils.crypto import salted_hmac

SLOT = 1024  # bytes; a longer note is not written, and its row waits for its lease
SLOTS = 1024  # runs at once that a worker can note
#: The head of a slot: the length of its note, and whether a time limit kills the run.
_HEAD = struct.Struct("=HB")

#: The parts of a note. One of another version that has fewer is left to the lease.
_PARTS = {"process", "task_id", "app_label", "model", "id", "using", "token"}


class Board:
    """The slots of one worker, in a file that this process opened or inherited."""

    def __init__(self, path: Path, new: bool = True) -> None:
        """Open a board. Raises OSError where there is no place for a new one."""
        self.path = path
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(path, flags | (os.O_CREAT if new else 0), 0o600)
        try:
            # All of it at once: a page that finds no place later would end the process.
            if new and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._fd, 0, SLOT * SLOTS)
            elif new:
                os.ftruncate(self._fd, SLOT * SLOTS)
            self._memory = mmap.mmap(self._fd, SLOT * SLOTS)
        except (OSError, ValueError) as error:  # ValueError: of a file that is shorter
            os.close(self._fd)
            raise OSError(f"{path}: {error}") from error

    def write(self, slot: int, note: dict[str, Any]) -> None:
        """Note a claim; the length comes last and makes it valid."""
        text = json.dumps(note).encode()
        at = slot * SLOT
        if len(text) <= SLOT - _HEAD.size:
            self._memory[at + _HEAD.size : at + _HEAD.size + len(text)] = text
            _HEAD.pack_into(self._memory, at, len(text), 0)

    def wipe(self, slot: int) -> None:
        """Forget the note of a slot."""
        _HEAD.pack_into(self._memory, slot * SLOT, 0, 0)

    def notes(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the slots that hold a note, with the note and its ``timed_out``."""
        for slot in range(SLOTS):
            at = slot * SLOT
            length, timed_out = _HEAD.unpack_from(self._memory, at)
            if length:
                text = self._memory[at + _HEAD.size : at + _HEAD.size + length]
                try:
                    note = json.loads(text)
                except ValueError:  # being written just now
                    continue
                if isinstance(note, dict) and _PARTS <= set(note):
                    yield slot, {**note, "timed_out": bool(timed_out)}

    def mark_timed_out(self, task_id: str) -> None:
        """Remember that the run of a Celery task is being killed for its time limit."""
        for slot, note in self.notes():
            if note["task_id"] == task_id:
                self._memory[slot * SLOT + _HEAD.size - 1] = 1

    def lock(self, slot: int) -> bool:
        """Lock a slot for this process; False if another process has it."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, SLOT, slot * SLOT)
        except OSError:
            return False
        return True

    def own(self) -> bool:
        """Lock the board as its worker, while that lives; False if another worker has it."""
        return self.lock(SLOTS)

    def is_abandoned(self, slot: int, note: dict[str, Any]) -> bool:
        """Tell whether the process that wrote the note is dead, by proof."""
        if note["process"] == process_identity(os.getpid()) or not self.lock(slot):
            return False
        fcntl.lockf(self._fd, fcntl.LOCK_UN, SLOT, slot * SLOT)
        # A handler that closes every file gives the lock away, so the lock is not enough.
        return bool(process_identity(note["process"][0]) != note["process"])

    def delete_if_empty(self) -> None:
        """Delete the file if it holds no note."""
        if next(self.notes(), None) is None:
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file. Every lock of this process on it is gone then."""
        self._memory.close()
        os.close(self._fd)


def process_identity(pid: int) -> list[int] | None:
    """Return [pid, start], which no other process will ever have; None for a dead one."""
    try:
        # The fields after the name: state, …, and the 20th: the start, since boot.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else [pid, int(fields[19])]
    except (FileNotFoundError, ProcessLookupError):  # the latter: reaped just now
        if Path("/proc/self/stat").exists():
            return None
    with suppress(PermissionError):  # no /proc on this system
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
    return [pid, 0]


def board_path(node: str) -> Path:
    """Return the path of a node's files but for the suffix, in a folder of the user's."""
    folder = Path(tempfile.gettempdir()) / f"simpletask2-celery-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user's")
    if status.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to other users")
    # Another project on this machine has another SECRET_KEY, and so another name.
    name = salted_hmac("simpletask2_celery.claims", node, algorithm="sha256").hexdigest()
    return folder / name[:20]


class _Slots:
    """The slots of a board that this process has locked."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.process: list[int] | None = None
        self._locked: set[int] = set()
        self._free: list[int] = []  # those of the locked ones that no run uses
        self._locking = threading.Lock()

    def take(self) -> int | None:
        with suppress(IndexError):
            return self._free.pop()
        with self._locking:
            self.process = process_identity(os.getpid())
            # A dead process may have left a note, which stays.
            used = self._locked | {slot for slot, _ in self.board.notes()}
            for slot in range(SLOTS):
                if slot not in used and self.board.lock(slot):
                    self._locked.add(slot)
                    return slot
        return None

    def give_back(self, slot: int) -> None:
        if self is _slots:  # otherwise the worker has closed its board
            self.board.wipe(slot)
            self._free.append(slot)


_slots: _Slots | None = None


def post_on(board: Board | None) -> None:
    """Let this process, and those it forks, note their claims on a board."""
    global _slots
    _slots = None if board is None else _Slots(board)


#: A lock on a slot is its process's alone.
os.register_at_fork(after_in_child=lambda: post_on(_slots.board if _slots else None))


@contextmanager
def noted(row: Any, task_id: str) -> Iterator[None]:
    """Note the claim of a row for as long as its run lasts."""
    slots = _slots
    slot = slots.take() if slots else None
    if slots is None or slot is None:
        yield
        return
    note = {
        "process": slots.process,
        "task_id": task_id,
        "app_label": row._meta.app_label,
        "model": row._meta.model_name,
        "id": row._meta.pk.value_to_string(row),
        "using": row._state.db,
        "token": row.start_time.isoformat(),
    }
    slots.board.write(slot, note)
    try:
        yield
    except Exception:  # but SystemExit ends the process in mid-run, and the note must stay
        slots.give_back(slot)
        raise
    slots.give_back(slot)
