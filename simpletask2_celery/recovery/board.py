"""What each process of a worker runs, noted where it outlives the process.

A file per worker, mapped into memory before the pool forks: a run notes its claim in a
slot of its own and wipes it at the end, which costs some microseconds and no I/O. A
process keeps a lock on its slots' bytes, which the kernel takes from it when it dies:
a note whose lock is gone is the proof that its run is over. Who reads the notes is
``recovery``. Off a worker nothing is noted.
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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.utils.crypto import salted_hmac

SLOT = 1024  # bytes; a note that is longer is left to the lease
SLOTS = 1024  # runs at once that a worker can note
_HEAD = struct.Struct("=HB")  # length of the note, and whether its time is over


#: What a note tells; one of another version, that tells less, is left to the lease.
_PARTS = {"process", "task_id", "app_label", "model", "id", "using", "token"}


class Board:
    """The slots of one worker, in a file that this process opened or inherited."""

    def __init__(self, path: Path, new: bool = True) -> None:
        """Open a board. Raises OSError where there is no place for a new one."""
        self.path = path
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(path, flags | (os.O_CREAT if new else 0), 0o600)
        try:
            if new:  # all of it: a page that finds no place later would end the process
                _allocate(self._fd, SLOT * SLOTS)
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
        """Return the slots that hold a note, with it and with ``timed_out``."""
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
                self._memory[slot * SLOT + 2] = 1

    def lock(self, slot: int) -> bool:
        """Lock a slot for this process; False if another process has it."""
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, SLOT, slot * SLOT)
        except OSError:
            return False
        return True

    def unlock(self, slot: int) -> None:
        """Give a slot back."""
        fcntl.lockf(self._fd, fcntl.LOCK_UN, SLOT, slot * SLOT)

    def own(self) -> bool:
        """Say that this worker lives; False if the board is another's who does."""
        return self.lock(SLOTS)

    def is_abandoned(self, slot: int, note: dict[str, Any]) -> bool:
        """Tell whether the process that wrote the note is dead, by proof."""
        if note["process"] == process_identity(os.getpid()) or not self.lock(slot):
            return False
        self.unlock(slot)
        # Belt and braces: a handler that closes every file gives the lock away.
        return bool(process_identity(note["process"][0]) != note["process"])

    def delete_if_empty(self) -> None:
        """Delete the file if there is nothing in it."""
        if not any(True for _ in self.notes()):
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file. Every lock of this process on it is gone then."""
        self._memory.close()
        os.close(self._fd)


def _allocate(fd: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, size)
    else:
        os.ftruncate(fd, size)


def process_identity(pid: int) -> list[int] | None:
    """Return what no other process will ever be: [pid, start]; None of a dead one."""
    try:
        # The fields after the name: state, …, and the 20th: the start, since boot.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else [pid, int(fields[19])]
    except (FileNotFoundError, ProcessLookupError):  # the latter: reaped just now
        if Path("/proc/self/stat").exists():
            return None
    try:  # no /proc on this system
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return [pid, 0]


def board_path(node: str) -> Path:
    """Return the path of a node's files but for the suffix, in a folder of the user's.

    Names of other projects on this machine, whose SECRET_KEY is another, differ.
    """
    folder = Path(tempfile.gettempdir()) / f"simpletask2-celery-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{folder} is not a folder of this user's")
    if found.st_mode & 0o077:
        raise PermissionError(f"{folder} is open to other users")
    return (
        folder / salted_hmac("simpletask2_celery.claims", node, algorithm="sha256").hexdigest()[:20]
    )


# -- of this process ---------------------------------------------------------------------

_board: Board | None = None
_free: list[int] = []  # slots that this process has locked and does not use just now
_identity: list[int] | None = None


def post_on(board: Board | None) -> None:
    """Let this process, and those it forks, note their claims on a board."""
    global _board
    _board = board
    _free.clear()


@contextmanager
def noted(row: Any, task_id: str) -> Iterator[None]:
    """Note the claim of a row for as long as its run lasts."""
    slot = _take_slot(_board) if _board else None
    if _board is None or slot is None:
        yield
        return
    note = {
        "process": _identity,
        "task_id": task_id,
        "app_label": row._meta.app_label,
        "model": row._meta.model_name,
        "id": row._meta.pk.value_to_string(row),
        "using": row._state.db,
        "token": row.start_time.isoformat(),
    }
    _board.write(slot, note)
    try:
        yield
    except Exception:
        _give_back(slot)
        raise
    # A SystemExit ends the process in the middle of its run: the note stays.
    _give_back(slot)


def _give_back(slot: int) -> None:
    if _board is not None:
        _board.wipe(slot)
    _free.append(slot)


def _take_slot(board: Board) -> int | None:
    global _identity
    if _free:
        return _free.pop()
    with _taking:
        _identity = process_identity(os.getpid())
        noted = {slot for slot, _ in board.notes()}  # by a dead process, perhaps: kept
        for slot in range(SLOTS):
            if slot not in noted and slot not in _locked and board.lock(slot):
                _locked.add(slot)
                return slot
    return None


_taking = threading.Lock()
_locked: set[int] = set()


def _forget_parent() -> None:
    global _taking
    _taking = threading.Lock()
    _locked.clear()
    _free.clear()


os.register_at_fork(after_in_child=_forget_parent)
