"""Processes of the benchmark: started with a log each, watched from outside, ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
PERIOD = 0.2  # seconds between two looks at the processes


def start(command, environment, name):
    """Start a command; its output goes to a log in the folder of the run."""
    path = Path(os.environ["TEST_FOLDER"], f"{name}.log")
    with path.open("a") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    process.log = path
    return process


def stop(processes):
    """End the processes, by force where they take longer than ten seconds."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def say(module, *arguments, environment, python=sys.executable):
    """Run a module to its end and return the JSON that it says last."""
    done = subprocess.run(
        list(map(str, [python, "-m", module, *arguments])),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {arguments}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def wait_for_port(port, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with closing(socket.socket()) as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")


class Meter(threading.Thread):
    """What processes and their children take: memory (PSS where there is such) and CPU."""

    def __init__(self, processes):
        super().__init__(daemon=True)
        self.pids = [process.pid for process in processes]
        self.samples = []  # (time, CPU seconds, bytes)
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(PERIOD):
            self.samples.append((time.time(), *self.look()))

    def look(self):
        cpu = memory = 0
        for pid in self.pids:
            try:
                root = psutil.Process(pid)
                family = [root, *root.children(recursive=True)]
            except psutil.Error:
                continue
            for process in family:
                try:
                    times, held = process.cpu_times(), process.memory_full_info()
                except psutil.Error:
                    continue
                cpu += times.user + times.system
                memory += getattr(held, "pss", held.rss)
        return cpu, memory

    def end(self):
        self.over.set()
        self.join()

    def peak(self, begin, end):
        """Return the most memory, in MiB, that was in use in that time."""
        within = [memory for at, _, memory in self.samples if begin <= at <= end]
        return max(within or [memory for *_, memory in self.samples]) / 2**20

    def cpu(self, begin, end):
        """Return the CPU seconds of that time."""
        return self._cpu_at(end) - self._cpu_at(begin)

    def _cpu_at(self, when):
        before, after = self.samples[0], self.samples[-1]
        for sample in self.samples:
            if sample[0] <= when:
                before = sample
            else:
                after = sample
                break
        span = after[0] - before[0]
        share = min(max((when - before[0]) / span, 0), 1) if span > 0 else 0
        return before[1] + share * (after[1] - before[1])
