"""Run the main job on this machine: a real broker, worker and beat, and four rows."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import BaseCommand, CommandError, call_command
from django.urls import reverse
from django.utils import timezone

from shop.servers import Servers, Stopped, free_port
from shop.tasksapp import trickle
from shop.tasksapp.models import HelloTask, WorldTask

LIMIT = 60  # seconds
MANAGE = Path(__file__).parents[4] / "manage.py"
CELERY = [sys.executable, "-m", "celery", "--workdir", MANAGE.parent, "-A", "shop"]


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        text = "go on until Ctrl-C, with new rows all the time, and print the URL of the admin"
        parser.add_argument("--keep", action="store_true", help=text)

    def handle(self, keep, **options):
        sys.stdout.reconfigure(line_buffering=True, errors="replace")
        try:
            if "DEMO_DIR" in os.environ:
                self.run(keep)
            else:
                self.begin_again(keep)
        except Stopped:
            sys.exit(130)

    def begin_again(self, keep):
        """Call this command anew with a broker and a folder, which the settings ask for."""
        with tempfile.TemporaryDirectory(prefix="simpletask2-demo-") as folder:
            with Servers(Path(folder)) as servers:
                url = os.environ.get("DEMO_REDIS_URL") or servers.start_broker()
                environ = {**os.environ, "DEMO_DIR": folder, "DEMO_REDIS_URL": url}
                environ["TMPDIR"] = folder  # workers that are killed leave files
                command = [sys.executable, MANAGE, "demo", *(["--keep"] if keep else [])]
                process = subprocess.Popen(command, env=environ, start_new_session=True)
                with suppress(Stopped):
                    while process.poll() is None:
                        servers.pause(0.05)
                process.terminate()
                code = process.wait()
        sys.exit(130 if code == -signal.SIGTERM else code)  # it had not begun

    def run(self, keep):
        with Servers(settings.VAR) as servers:
            try:
                self.stdout.write("A broker, a worker and beat are starting.")
                port = self.start(servers)
                self.show_rows(servers, port)
                if keep:
                    self.stay(servers, port)
            except Stopped:
                self.stdout.write("Stopping.")
                raise

    def start(self, servers):
        call_command("migrate", verbosity=0)
        port = free_port()
        manage = [sys.executable, MANAGE]
        web = servers.start("web", *manage, "runserver", "--noreload", f"127.0.0.1:{port}")
        servers.start("worker", *CELERY, "worker", "-c", "2", "-l", "INFO")
        schedule = str(settings.VAR / "schedule")
        servers.start("beat", *CELERY, "beat", "-s", schedule, "-l", "INFO")
        if not servers.answers(port, web):
            raise CommandError(f"nothing answers on port {port}:\n" + log("web"))
        return port

    def show_rows(self, servers, port):
        """Create the rows; print a line for each when it is DONE."""
        began = timezone.now()
        waiting = list(create_rows(port, began))
        number = len(waiting)
        while waiting:
            for found in list(waiting):
                row, _first, _what = found
                row.refresh_from_db()
                if row.status == row.DONE:
                    self.stdout.write(fitting(line(*found, began)))
                    waiting.remove(found)
                    if not row.success:
                        raise CommandError(f"{row.get_task_info()} failed:\n" + log("worker"))
            if timezone.now() > began + timedelta(seconds=LIMIT):
                names = ", ".join(row.get_task_info() for row, *_ in waiting)
                raise CommandError(f"not DONE within a minute: {names}\n" + log("worker"))
            servers.pause(0.05)
        self.stdout.write(f"All {number} rows are DONE.")

    def stay(self, servers, port):
        """Create rows until Ctrl-C."""
        User.objects.create_superuser("admin", password="admin")
        mail = ["-n", "mail@%h", "-Q", "simpletask2.mail"]
        servers.start("mail", *CELERY, "worker", *mail, "-c", "1", "-l", "INFO")
        site = f"http://127.0.0.1:{port}"
        self.stdout.write(
            f"""
Admin:      {site}{reverse("admin:index")} (admin / admin)
Dashboard:  {site}{reverse("admin:simpletask2_dashboard")}
Logs:       {settings.VAR}
Commands:   DEMO_DIR={settings.VAR} DEMO_REDIS_URL={settings.REDIS} \\
            {sys.executable} {MANAGE} simpletask2_status

A row or two come each second; those that ended an hour ago are deleted. Times are in UTC.
Ctrl-C ends it all."""
        )
        try:
            for second in count():
                trickle.drip(second, f"{site}/page")
                servers.pause(1)
        except Stopped:
            self.stdout.write("Stopping.")


def log(name):
    return (settings.VAR / f"{name}.log").read_text()[-3000:]


def create_rows(port, now):
    """Yield each row, the state it begins in, and what it shows."""
    yield HelloTask.objects.create(name="Ada"), "Ready", "saved"
    [row] = HelloTask.objects.bulk_create([HelloTask(name="Grace")])  # publishes nothing
    yield row, "Ready", "found by auto-reset"
    row = HelloTask(name="Alan", status=HelloTask.DOING, current_step=1)
    row.start_time = row.auto_reset_time = now - timedelta(seconds=5)
    row.save()
    yield row, "Stale", "lease over"
    yield WorldTask.objects.create(url=f"http://127.0.0.1:{port}/page"), "Ready", "proxy request"


def line(row, first, what, began):
    """Return the journey of a DONE row, by its own columns."""
    times = {f"step {n}": getattr(row, f"step{n}_time") for n in range(1, row.final_step + 1)}
    times["Done" if row.success else "Failed"] = row.done_time
    seconds = {place: (at - began).total_seconds() for place, at in times.items() if at}
    journey = " → ".join([first, *(f"{place} {at:.1f}s" for place, at in seconds.items())])
    return f"{type(row).__name__} {row.pk}  {journey:<45}  {what}"


def fitting(text):
    """Cut a line to the width of the terminal, if there is one."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else len(text)
    return text if len(text) <= width else text[: width - 1] + "…"
