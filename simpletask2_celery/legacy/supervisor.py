"""Run a Celery worker and a beat as processes, and start again the one that dies.

The pidfile is locked for as long as the supervisor lives, so that neither a pid used
again nor a file left behind by a crash can be taken for a running one.
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
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import config_file

logger = logging.getLogger(__name__)

ROLES = ("worker", "beat")
POLL = 0.2  # seconds between two looks at the children
SETTLED = 30.0  # seconds after which a process counts as started well
MAX_REST = 30.0  # seconds between two starts of one that dies at once
STARTING = 60.0  # seconds that --detach waits for the background process
CUT_OFF = 5.0  # seconds that a worker has to end after a second signal
REDIS = "SIMPLETASK2_CELERY_REDIS"  # environment variable of the option --redis
_COMMAND = [sys.executable, "-m", "simpletask2_celery.legacy.cli"]


class Failed(Exception):
    """What was asked for cannot be done; the text says why."""


@dataclass
class Plan:
    """What to run: the app's name, where the values come from, and the values."""

    app: str | None
    source: str
    values: dict[str, Any]
    origin: Path = field(default_factory=Path.cwd)

    @property
    def workspace(self) -> Path:
        """The folder that the paths of pidfile and logfile begin at."""
        return self.origin / str(self.values.get("workspace", "."))

    @property
    def pidfile(self) -> Path:
        """The file that is locked while the supervisor runs."""
        return self.workspace / str(self.values.get("pidfile", "simpletask2-celery.pid"))

    @property
    def schedule(self) -> Path:
        """The file in which beat remembers when it sent what."""
        return self.pidfile.with_name(self.pidfile.name + ".beat")

    @property
    def logfile(self) -> Path | None:
        """The file that supervisor, worker and beat write to; None for stderr."""
        name = self.values.get("logfile")
        return self.workspace / str(name) if name else None

    @property
    def loglevel(self) -> str:
        """The level, in upper case."""
        return str(self.values.get("loglevel", "INFO")).upper()

    def environ(self) -> dict[str, str]:
        """Return the environment of its processes: no password in a command line."""
        redis = {REDIS: self.values["redis"]} if "redis" in self.values else {}
        return {**os.environ, **redis}

    @property
    def roles(self) -> tuple[str, ...]:
        """A worker always; a beat unless another machine's does the resets."""
        return ROLES if self.values.get("do-auto-reset-task", True) else ROLES[:1]

    def options_of(self, role: str) -> list[str]:
        """Return Celery's own options for one of the processes."""
        options = ["--loglevel", self.loglevel]
        if self.logfile:
            options += ["--logfile", str(self.logfile)]
        if role == "worker":
            project = str(self.app).replace(":", ".")
            return [*options, "--hostname", f"{project}.{self.pidfile.stem}@%h"]
        return [*options, "--schedule", str(self.schedule), "--pidfile", ""]


def run(plan: Plan, arguments: list[str]) -> None:
    """Run the processes until SIGTERM or SIGINT. Raises Failed where others run them."""
    _log_to(plan)
    config_file.name_meaningless(plan.values, plan.source)
    signals: list[int] = []
    with _locked(plan.pidfile):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: signals.append(number))
        children = [Child(plan, role, [*arguments, "child", role]) for role in plan.roles]
        while not signals:
            for one in children:
                one.keep_alive()
            time.sleep(POLL)
        _stop_warmly(children, signals)


class Child:
    """One Celery process, and when to start it next."""

    def __init__(self, plan: Plan, role: str, arguments: list[str]) -> None:
        self.plan = plan
        self.role = role
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self._started = self._start_at = self._rest = 0.0

    def keep_alive(self) -> None:
        """Start the process if there is none; note it if there is none any more."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._start_at:
                self._start(now)
        elif self.is_over():
            settled = now - self._started > SETTLED
            self._ended(f"ended ({self.process.returncode})", now, settled)
            self.process = None

    def is_over(self) -> bool:
        """Tell whether the process has ended."""
        return self.process is None or self.process.poll() is not None

    def send(self, number: int) -> None:
        """Send a signal to the process, if it lives."""
        if self.process is not None and not self.is_over():
            self.process.send_signal(number)

    def _ended(self, how: str, now: float, settled: bool) -> None:
        self._rest = 0.0 if settled else min(MAX_REST, self._rest * 2 or 1.0)
        self._start_at = now + self._rest
        logger.error("%s %s; starting it again in %d s.", self.role, how, self._rest)
        if self.role == "beat" and not settled:
            # A damaged file would end every beat; what it remembers is not needed.
            for path in self.plan.schedule.parent.glob(f"{self.plan.schedule.name}*"):
                path.unlink(missing_ok=True)

    def _start(self, now: float) -> None:
        # In a session of its own, so that Ctrl-C comes to it once, from here; with a
        # pipe from here, so that it ends if this process is killed.
        try:
            self.process = subprocess.Popen(
                [*_COMMAND, *self.arguments],
                cwd=self.plan.origin,
                env=self.plan.environ(),
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            self._ended(f"cannot be started ({error})", now, False)
            return
        self._started = now
        logger.info("%s started, pid %d.", self.role, self.process.pid)


def _stop_warmly(children: list[Child], signals: list[int]) -> None:
    """Stop the children; a second signal stops the worker without its steps."""
    logger.info("Stopping: steps under way are finished. A second signal cuts them off.")
    for one in children:
        one.send(signal.SIGTERM)
    while len(signals) < 2 and not all(one.is_over() for one in children):
        time.sleep(POLL)
    for one in children:
        one.send(signal.SIGQUIT)
    end = time.monotonic() + CUT_OFF
    while not all(one.is_over() for one in children):
        if time.monotonic() > end:  # as one that waits for a silent broker
            for one in children:
                one.send(signal.SIGKILL)
        time.sleep(POLL)
    logger.info("Stopped.")


def end_with_parent() -> None:
    """End this process warmly when the supervisor's end of its pipe closes."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="simpletask2-parent", daemon=True).start()


def detach(plan: Plan, arguments: list[str]) -> str:
    """Run the supervisor in the background; return what to tell the user.

    Raises Failed where one runs already or where it does not come up.
    """
    if pid := running(plan):
        raise Failed(_runs_already(plan.pidfile, pid))
    output = plan.logfile or plan.pidfile.with_suffix(".log")
    if "--daemon" in arguments or plan.values.get("daemon"):
        arguments = [a for a in arguments if a != "--daemon"] + ["--no-daemon"]
    with _opened(output, "ab") as log:
        process = subprocess.Popen(
            [*_COMMAND, *arguments, "start"],
            cwd=plan.origin,
            env=plan.environ(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    end = time.monotonic() + STARTING
    while (pid := running(plan)) != process.pid:
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            if pid:
                raise Failed(_runs_already(plan.pidfile, pid))
            raise Failed(f"It has not come up in {STARTING:.0f} s; see {output}.")
        time.sleep(POLL)
    return f"started, pid {process.pid}, log in {output}"


def stop(plan: Plan) -> str:
    """Stop the supervisor warmly and return what to tell the user.

    Raises Failed where it still runs after ``stop-timeout`` seconds (30).
    """
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

    Raises Failed for a file that no supervisor has written: whoever may write to the
    folder could have any process stopped by it.
    """
    try:
        with open(plan.pidfile, opener=_never_a_link) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = int(file.read() or 0) or None
                if pid and not _is_supervisor(pid, os.fstat(file.fileno()).st_uid):
                    raise ValueError(f"pid {pid} is no supervisor of its owner's") from None
                return pid
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        raise Failed(f"The pidfile {plan.pidfile} cannot be used: {error}") from None
    return None


def _never_a_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o644)


def _is_supervisor(pid: int, owner: int) -> bool:
    """Tell whether a process is a supervisor, and of the user who owns its pidfile.

    Where /proc does not say, the file has to be one's own.
    """
    process = Path("/proc", str(pid))
    try:
        words = process.joinpath("cmdline").read_bytes().replace(b"-", b"_")
        return process.stat().st_uid == owner and b"simpletask2_celery" in words
    except OSError:
        return not process.parent.joinpath("self").exists() and owner == os.geteuid()


@contextmanager
def _locked(pidfile: Path) -> Iterator[None]:
    with _opened(pidfile, "a+", _never_a_link) as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise Failed(f"The pidfile {pidfile} belongs to another user.")
        for attempt in (1, 2, 3):  # a look by "status" holds it for a moment
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 3:
                    file.seek(0)
                    raise Failed(_runs_already(pidfile, file.read())) from None
                time.sleep(POLL)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)  # the file stays: removing it would race with a new start


@contextmanager
def _opened(path: Path, mode: str, opener: Any = None) -> Iterator[Any]:
    try:
        file = open(path, mode, opener=opener)
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}.") from None
    with file:
        yield file


def _runs_already(pidfile: Path, pid: object) -> str:
    return f"It runs already: pid {pid} of {pidfile}."


def _log_to(plan: Plan) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if plan.logfile:
        handlers = [logging.FileHandler(plan.logfile)]
    form = "[%(asctime)s: %(levelname)s/supervisor] %(message)s"
    logging.basicConfig(level=plan.loglevel, format=form, handlers=handlers)
