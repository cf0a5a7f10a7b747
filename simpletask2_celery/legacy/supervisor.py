"""Run a Celery worker and a beat as processes, and start again the one that dies.

The supervisor locks the pidfile for as long as it lives. So neither a pid that the system
has used again nor a file that a crash has left behind passes for a running supervisor.
"""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import click

from . import yaml_file

logger = logging.getLogger(__name__)

ROLES = ("worker", "beat")
POLL = 0.2  # seconds between two looks at the children
SETTLED = 30.0  # seconds after which a process counts as started well
MAX_REST = 30.0  # seconds between two starts of one that dies at once
STARTING = 60.0  # seconds that --detach waits for the background process
CUT_OFF = 5.0  # seconds that a worker has to end after a second signal
REDIS = "SIMPLETASK2_CELERY_REDIS"  # environment variable of the option --redis
Process = subprocess.Popen[bytes]


class Failed(click.ClickException):
    """What was asked for cannot be done; the text says why."""


class Plan:
    """What to run: the app's name, the checked values, and the ``source`` that a log names.

    ``arguments`` are the command's own options, for the processes that run it again.
    """

    def __init__(
        self, app: str | None, source: str, values: dict[str, Any], origin: Path | None = None
    ) -> None:
        self.app = app
        self.source = source
        self.values = values
        self.origin = origin or Path.cwd()
        self.arguments: list[str] = []
        workspace = self.origin / values.get("workspace", ".")
        #: The supervisor locks it for as long as it runs.
        self.pidfile = workspace / values.get("pidfile", "simpletask2-celery.pid")
        #: Beat remembers in it when it sent what.
        self.schedule = self.pidfile.with_name(self.pidfile.name + ".beat")
        #: Supervisor, worker and beat write to it; to stderr if it is None.
        self.logfile = workspace / values["logfile"] if values.get("logfile") else None
        self.loglevel = values.get("loglevel", "INFO").upper()

    def begin(self, words: list[str], **streams: Any) -> Process:
        """Start this command anew, as the head of a process group. Raises OSError."""
        redis = {REDIS: self.values["redis"]} if "redis" in self.values else {}
        return subprocess.Popen(
            [sys.executable, "-m", "simpletask2_celery.legacy.cli", *self.arguments, *words],
            cwd=self.origin,
            env={**os.environ, **redis},  # no password in a command line
            start_new_session=True,
            **streams,
        )


def run(plan: Plan) -> None:
    """Run the processes until SIGTERM or SIGINT. Raises Failed where others run them."""
    logging.basicConfig(
        level=plan.loglevel,
        format="[%(asctime)s: %(levelname)s/supervisor] %(message)s",
        filename=plan.logfile,
    )
    yaml_file.log_unused(plan.values, plan.source)
    # Without a beat where another machine's does the resets.
    roles = ROLES if plan.values.get("do-auto-reset-task", True) else ROLES[:1]
    signals: list[int] = []
    with _locked(plan.pidfile):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: signals.append(number))
        children = [keep_alive(plan, role, ["child", role]) for role in roles]
        processes: list[Process | None] = []
        while not signals:
            processes = [next(child) for child in children]
            time.sleep(POLL)
        _stop_warmly([process for process in processes if process], signals)


def keep_alive(plan: Plan, role: str, words: list[str]) -> Iterator[Process | None]:
    """Start the process of a role whenever it is dead; yield it, or None while it has to rest."""
    rest = 0.0
    while True:
        started = time.monotonic()
        try:
            # The pipe tells the process when this one is killed.
            process = plan.begin(words, stdin=subprocess.PIPE)
            logger.info("%s started, pid %d.", role, process.pid)
            while process.poll() is None:
                yield process
            how = f"ended ({process.returncode})"
        except OSError as error:
            how = f"cannot be started ({error})"
        has_settled = time.monotonic() - started > SETTLED
        rest = 0.0 if has_settled else min(MAX_REST, rest * 2 or 1.0)
        logger.error("%s %s; starting it again in %d s.", role, how, rest)
        if role == "beat" and not has_settled:
            # A damaged file would end every beat; what it remembers is not needed.
            for path in plan.schedule.parent.glob(f"{plan.schedule.name}*"):
                path.unlink(missing_ok=True)
        end = time.monotonic() + rest
        while time.monotonic() < end:
            yield None


def _stop_warmly(processes: list[Process], signals: list[int]) -> None:
    """Stop the processes; a second signal cuts off the rows under way."""
    logger.info("Stopping: rows under way are finished. A second signal cuts them off.")
    for process in processes:
        process.terminate()
    while len(signals) < 2 and any(process.poll() is None for process in processes):
        time.sleep(POLL)
    for process in processes:
        process.send_signal(signal.SIGQUIT)
    end = time.monotonic() + CUT_OFF
    for process in processes:
        try:
            process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:  # it may wait for the broker
            process.kill()
            process.wait()
    logger.info("Stopped.")


def end_with_parent() -> None:
    """End this process warmly when the supervisor's end of its pipe closes."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="simpletask2-parent", daemon=True).start()


def detach(plan: Plan) -> str:
    """Run the supervisor in the background; return what to tell the user, or raise Failed."""
    if pid := running(plan):
        raise _runs_already(plan.pidfile, pid)
    output = plan.logfile or plan.pidfile.with_suffix(".log")
    with _open(output, "ab") as log:
        words = ["--no-daemon", "start"]
        process = plan.begin(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + STARTING
    while (pid := running(plan)) != process.pid:
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            if pid:
                raise _runs_already(plan.pidfile, pid)
            raise Failed(f"It has not come up in {STARTING:.0f} s; see {output}.")
        time.sleep(POLL)
    return f"started, pid {process.pid}, log in {output}"


def stop(plan: Plan) -> str:
    """Stop the supervisor warmly, within ``stop-timeout`` seconds; return what to tell the user."""
    pid = running(plan)
    if not pid:
        return "not running"
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return "stopped"
    except OSError as error:
        raise Failed(f"pid {pid} cannot be stopped: {error.strerror}.") from None
    seconds = plan.values.get("stop-timeout", 30)
    end = time.monotonic() + seconds
    while running(plan) == pid:
        if time.monotonic() > end:
            raise Failed(
                f"pid {pid} still runs after {seconds} s: steps are under way, or the "
                "broker does not answer. Say stop once more to cut them off."
            )
        time.sleep(POLL)
    return "stopped"


def running(plan: Plan) -> int | None:
    """Return the pid of the supervisor that holds the pidfile's lock, if one does.

    Raises Failed for a file that no supervisor has written: otherwise whoever may write to
    the folder could have any process stopped.
    """
    try:
        with open(plan.pidfile, opener=_never_a_link) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            except BlockingIOError:
                pid = int(file.read() or 0)
            if pid and not _is_supervisor(pid, os.fstat(file.fileno()).st_uid):
                raise ValueError(f"pid {pid} is no supervisor of its owner's")
            return pid or None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise Failed(f"The pidfile {plan.pidfile} cannot be used: {error}") from None


def _never_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


def _is_supervisor(pid: int, owner: int) -> bool:
    """Tell whether a process is a supervisor, and of the user who owns its pidfile.

    Without /proc, the pidfile must belong to the user of this process.
    """
    process = Path("/proc", str(pid))
    try:
        words = process.joinpath("cmdline").read_bytes().replace(b"-", b"_")
        return process.stat().st_uid == owner and b"simpletask2_celery" in words
    except OSError:
        return not Path("/proc/self").exists() and owner == os.geteuid()


@contextmanager
def _locked(pidfile: Path) -> Iterator[None]:
    """Hold the pidfile's lock, and remove the file at the end."""
    for _ in range(3):  # "status" holds the lock for a moment
        with _open(pidfile, "a+", _never_a_link) as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                raise Failed(f"The pidfile {pidfile} belongs to another user.")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(POLL)
                file.seek(0)
                holder = file.read()
                continue
            if not _is_still(pidfile, file):  # a supervisor that ends has just removed it
                holder = "that is ending"
                continue
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            finally:
                # Before it is emptied: `running` takes an empty file for one that has ended.
                with suppress(OSError):
                    if _is_still(pidfile, file):
                        pidfile.unlink()
                file.truncate(0)  # where the folder is not ours, the file stays
            return
    raise _runs_already(pidfile, holder)


def _is_still(path: Path, file: IO[Any]) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _open(path: Path, mode: str, opener: Any = None) -> IO[Any]:
    try:
        return open(path, mode, opener=opener)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.") from None


def _runs_already(pidfile: Path, pid: object) -> Failed:
    return Failed(f"It runs already: pid {pid} of {pidfile}.")
