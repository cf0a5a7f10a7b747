"""What a fault acts on: a broker, a database, and processes that use them under load."""

import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from django.apps import apps
from django.db import DatabaseError, InterfaceError, connections, transaction

from tests.proofs.faults.processes import Fork, fresh

PATIENCE = 90  # seconds that the last row may take once the app has ended
DOING, DONE = 20, 30


def patiently(look):
    """Call ``look`` until the database answers: it may be under a fault."""
    end = time.monotonic() + 60
    while True:
        try:
            return look()
        except (DatabaseError, InterfaceError):
            connections["default"].close()
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not (found := patiently(condition)):
        assert time.monotonic() < end, f"{what} has not come in {seconds} s"
        time.sleep(0.05)
    return found


class Rig:
    """The pair's servers, and the processes of one fault."""

    def __init__(self, broker, database, folder, rows):
        self.broker, self.database, self.folder = broker, database, Path(folder)
        self.rows = rows
        self.processes, self.apps, self.chosen = [], [], set()
        self.struck = None
        self.restarted = 0

    # -- processes -------------------------------------------------------------------

    def start(self, **app):
        """Bring up worker, beat and app, and return when rows are under way."""
        self.worker()
        self.beat()
        self.app(**app)
        self.under_load()

    def under_load(self):
        done = self.steps(completed=True)
        wait_until(lambda: done.count() >= 6, "the first completed steps")

    def worker(self, clock=0):
        name = f"w{len(self.processes)}@%h"
        more = {}
        if clock:
            more = {
                "DJANGO_SETTINGS_MODULE": "tests.proofs.faults.wrong_clock",
                "FAULTS_CLOCK": str(clock),
            }
        # Workers that greet each other start a second later; no row depends on it.
        alone = ["--without-mingle", "--without-gossip"]
        return self._celery("worker", "-c", "2", "-n", name, "-l", "INFO", *alone, **more)

    def beat(self):
        schedule = str(self.folder / f"schedule-{len(self.processes)}")
        return self._celery("beat", "-s", schedule, "--max-interval", "1", "--pidfile=")

    def app(self, **options):
        options = {"count": self.rows, **options}
        process = self._run("app", "tests.proofs.faults.app", json.dumps(options))
        self.apps.append(process)
        return process

    def _celery(self, role, *arguments, **environment):
        command = ["celery", "-A", "tests.proofs.faults", role, *arguments]
        return self._run(role, *command, **environment)

    def _run(self, role, module, *arguments, **environment):
        log = self.folder / f"{len(self.processes)}-{role}.log"
        start = fresh if environment else Fork
        process = start(log, module, *arguments, **environment)
        process.role, process.replaced = role, False
        process.arguments, process.environment = (role, module, *arguments), environment
        self.processes.append(process)
        return process

    def last(self, role):
        return [one for one in self.processes if one.role == role][-1]

    def kill(self, process):
        """SIGKILL the process and all its children; the scenario replaces it."""
        self._end(process)
        process.replaced = True

    def again(self, process):
        """Start it under its own name once more, when it has ended."""
        process.wait(30)
        process.replaced = True
        return self._run(*process.arguments, **process.environment)

    def supervise(self):
        """Start again what has ended by itself, as systemd would."""
        for process in list(self.processes):
            ended = process.role != "app" and process.poll() is not None
            if ended and not process.replaced:
                self.again(process)
                self.restarted += 1

    def stop(self):
        for process in self.processes:
            self._end(process)

    def _end(self, process):
        process.send_signal(signal.SIGKILL)  # which may not have made its group yet
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    # -- what goes on ----------------------------------------------------------------

    @property
    def Ledger(self):
        return apps.get_model("shop", "Ledger")

    def steps(self, **where):
        return self.Ledger.objects.filter(what="step", **where)

    def strike(self):
        """Note the time of the fault: the first, where it strikes several times."""
        self.struck = self.struck or time.time()

    def in_mid_step(self, kind="shop."):
        """Return the ledger's line of a row that has just begun a step, each row once.

        ``kind`` is how the row's name begins.
        """

        def fresh():
            young = self.steps(ended=False, began__gt=time.time() - 0.1, row__startswith=kind)
            return young.exclude(row__in=self.chosen).last()

        line = wait_until(fresh, "a row in mid-step")
        self.chosen.add(line.row)
        return line

    def load(self, name):
        """Return the row of "app.model:pk"."""
        label, _, pk = name.partition(":")
        return patiently(lambda: apps.get_model(label).objects.get(pk=pk))

    def note(self, what, name):
        """Note an operator's act, before it happens: the claim ends no earlier."""
        now = time.time()
        self.Ledger.objects.create(what=what, row=name, began=now, seen=now, ended=True)

    def lock_rows(self, seconds):
        """Hold the locks of all rows that are not DONE, as somebody's transaction does."""
        from tests.proofs.faults.shop.models import TASKS

        with transaction.atomic():
            for model in TASKS:
                list(model.objects.exclude(status=DONE).select_for_update())
            time.sleep(seconds)

    def all_done(self):
        from tests.proofs.faults.shop.models import TASKS

        def done():
            return not any(m.objects.exclude(status=DONE).exists() for m in TASKS)

        return patiently(done)

    def app_runs(self):
        return any(app.poll() is None for app in self.apps)

    def finish(self):
        """Wait for the app's end and then for the rows; return the seconds it took."""
        end = time.monotonic() + PATIENCE
        while (busy := self.app_runs()) or not self.all_done():
            if busy:
                end = time.monotonic() + PATIENCE
            if time.monotonic() > end:
                break
            self.supervise()
            time.sleep(0.1)
        seconds = time.time() - self.struck
        time.sleep(1)  # for late runs to do their harm
        late = self.steps(ended=False, seen__gt=time.time() - 1)
        wait_until(lambda: not late.exists(), "the end of the late runs")
        return seconds
