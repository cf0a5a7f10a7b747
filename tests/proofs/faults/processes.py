"""Processes of a fault: their own groups, with a log each, as ``python -m`` starts them.

The imports take a second of a core each time, which were more than half of what the
matrix costs. So a process is forked from one that has done them, where it can be.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.proofs.faults.imported"])


def fresh(log, module, *arguments, **environment):
    """Start ``python -m module`` with an environment of its own."""
    with log.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


class Fork:
    """What ``python -m module`` is after its imports; it has what a Popen has."""

    def __init__(self, log, module, *arguments):
        arguments = (str(log), module, *arguments)
        self._process = FORKS.Process(target=_become, args=arguments)
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    def wait(self, seconds=None):
        self._process.join(seconds)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(f"fork {self.pid}", seconds)
        return self.poll()

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self._process.terminate()


def _become(log, module, *arguments):
    os.setsid()
    with open(log, "w") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
