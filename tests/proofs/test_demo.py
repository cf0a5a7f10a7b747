"""The demo as a person runs it, in a terminal or through a pipe, and Ctrl-C."""

import fcntl
import os
import pty
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests.support.fixtures import ROOT, wait_until

AT = r"\d+\.\ds"
LINES = [
    rf"HelloTask 1  Ready → step 1 {AT} → Done {AT} +saved",
    rf"HelloTask 2  Ready → step 1 {AT} → Done {AT} +found by auto-reset",
    rf"HelloTask 3  Stale → step 1 {AT} → Done {AT} +lease over",
    rf"WorldTask 1  Ready → step 1 {AT} → step 2 {AT} → Done {AT} +proxy request",
]
FIRST, LAST = "A broker, a worker and beat are starting.", "All 4 rows are DONE."
CTRL_C = b"\x03"


class Demo:
    """A demo, its text, and a folder in which it may leave nothing."""

    def __init__(self, folder, *words, columns=None, **environment):
        ours = ("DEMO_", "DJANGO_", "COLUMNS", "LINES", "CELERY_")
        environ = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
        self.folder, self._seen = folder, b""
        # A terminal, whose Ctrl-C reaches all processes in front; or a pipe.
        self._read, write = os.pipe() if columns is None else pty.openpty()
        if columns:
            fcntl.ioctl(write, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, ROOT / "example" / "manage.py", "demo", *words],
            cwd=folder,
            env={**environ, "TMPDIR": str(folder), "TERM": "xterm", **environment},
            stdin=write if columns else subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if columns else None,
        )
        os.close(write)
        self._reader = threading.Thread(target=self._take, daemon=True)
        self._reader.start()

    def _take(self):
        while True:
            try:
                data = os.read(self._read, 4096)
            except OSError:  # all ends of the terminal are closed
                return
            if not data:
                return
            self._seen += data

    @property
    def text(self):
        return self._seen.decode(errors="replace").replace("\r\n", "\n")

    def shows(self, text):
        wait_until(lambda: text in self.text or self.process.poll() is not None, 90)
        assert text in self.text, self.text

    def press(self, key):
        os.write(self._read, key)

    def end(self, seconds=90):
        """Return the exit code, when every process of the demo and its files are gone."""
        code = self.process.wait(seconds)
        wait_until(lambda: not processes_of(self.folder), 2, processes_of(self.folder))
        self._reader.join(5)
        assert os.listdir(self.folder) == []
        return code

    def kill(self):
        for process in processes_of(self.folder):
            os.kill(process, signal.SIGKILL)
        self.process.wait(5)
        self._reader.join(5)
        os.close(self._read)


def processes_of(folder):
    """Return the processes whose environment names the folder, or which are in it."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = [(path / "environ").read_bytes().decode(errors="replace")]
            words.append(os.readlink(path / "cwd"))  # Valkey writes its title over the first
        except OSError:  # it has ended, or is another user's
            continue
        if any(str(folder) in text for text in words):
            found.append(int(path.name))
    return found


@pytest.fixture
def run(tmp_path):
    if not Path("/proc/self/environ").exists():
        pytest.skip("processes are found by /proc")
    demos = []

    def begin(*words, **options):
        demos.append(Demo(tmp_path, *words, **options))
        return demos[-1]

    yield begin
    for demo in demos:
        demo.kill()


@pytest.mark.parametrize(
    "options",
    [{}, {"columns": 80}, {"columns": 120}, {"columns": 100, "TERM": "dumb", "NO_COLOR": "1"}],
    ids=["pipe", "80", "120", "dumb"],
)
def test_each_row_has_one_line_with_each_state_once(run, options):
    demo = run(**options)
    assert demo.end() == 0, demo.text
    first, *lines, last = demo.text.splitlines()
    assert (first, last) == (FIRST, LAST)
    assert len(lines) == len(LINES), demo.text
    for line, wanted in zip(sorted(lines), LINES, strict=True):
        assert re.fullmatch(wanted, line), demo.text
        assert len(line) <= options.get("columns", 200)


def test_a_narrow_terminal_cuts_lines_and_breaks_none(run):
    demo = run(columns=40)
    assert demo.end() == 0, demo.text
    first, *lines, last = demo.text.splitlines()
    names = [re.match(r"\w+Task \d  (Ready|Stale) → step 1 ", line)[0][:11] for line in lines]
    assert sorted(names) == [wanted[:11] for wanted in LINES]
    assert {len(line) for line in lines} == {40} and all(line[-1] == "…" for line in lines)


@pytest.mark.parametrize(
    ("text", "number"),
    [(FIRST, signal.SIGINT), (FIRST, signal.SIGHUP), ("HelloTask 1", signal.SIGTERM)],
)
def test_a_demo_that_is_ended_tidies_up(run, text, number):
    demo = run()
    demo.shows(text)
    demo.process.send_signal(number)
    demo.process.send_signal(number)  # somebody is impatient
    assert demo.end(15) == 130
    assert demo.text.count("Stopping.") == 1 and "Traceback" not in demo.text


def test_who_keeps_the_demo_finds_something_on_every_page(run):
    demo = run("--keep", columns=80)
    demo.shows("Ctrl-C ends it all.")
    admin = re.search(r"Admin: +(\S+) \(admin / admin\)", demo.text)[1]
    dashboard = re.search(r"Dashboard: +(\S+)", demo.text)[1]
    database = next(demo.folder.glob("*/demo.sqlite3"))
    make_old(database)
    with requests.Session() as session:
        sign_in(session, admin)

        def shows(address, *texts):
            page = session.get(address).text
            return all(re.search(text, page) for text in texts)

        def pages_show(model, *texts):
            address = f"{admin}tasksapp/{model}/"
            wait_until(lambda: shows(address, *texts), 30, f"{texts} of {model}")

        pages_show("paymenttask", "The bank did not answer.", "st2-failed", "Paid, receipt")
        reset_the_failed(session, admin)
        pages_show("hellotask", "Hello, Ada.")
        pages_show("worldtask", "The world says hello.")
        pages_show("exporttask", "orders exported", "[3-6]/6", "st2-doing")
        pages_show("mailtask", "250 OK", "st2-ready")
        wait_until(lambda: shows(dashboard, r"mail: \d+", r"\d s ago", "celery@", "mail@"), 30)
        wait_until(lambda: asked(database, "payment", "success AND number = 2"), 30)
        wait_until(lambda: not asked(database, "hello", "done_time < '2020'"), 30)
    demo.press(CTRL_C)
    assert demo.end(10) == 0
    assert demo.text.count("Stopping.") == 1 and "Traceback" not in demo.text


def sign_in(session, admin):
    address = session.get(admin).url
    token = session.cookies["csrftoken"]
    form = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": token}
    assert session.post(address, form).url == admin


def reset_the_failed(session, admin):
    """Do what the button of a row's page does: the second payment has failed."""
    form = {"action": "reset_selected_tasks", "_selected_action": "2"}
    form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
    assert session.post(f"{admin}tasksapp/paymenttask/", form).ok


def asked(database, model, where):
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        table = f"tasksapp_{model}task"
        return connection.execute(f"SELECT id FROM {table} WHERE {where}").fetchall()


def make_old(database):
    """Let the first row have ended long ago."""
    with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
        connection.execute("UPDATE tasksapp_hellotask SET done_time = '2019-01-01' WHERE id = 1")
