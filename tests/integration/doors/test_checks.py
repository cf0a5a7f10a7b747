"""What a project sees beside its rows: schema, checks, settings, texts, admin."""

import re
import subprocess
import sys

import pytest
from celery import current_app
from django.core import checks as django_checks
from django.core.management import call_command

from simpletask2_celery.checks import celery_app
from tests.support.fixtures import ROOT, environ

# -- schema ------------------------------------------------------------------------


@pytest.mark.django_db(databases=["default", "server"])
def test_no_model_lacks_a_migration():
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_a_migration_of_the_original_leaves_nothing_to_do():
    """The file is what makemigrations wrote for these models on 0.1.12's base class."""
    command = [sys.executable, "-m", "django", "makemigrations", "--check", "--dry-run"]
    environment = environ(
        DJANGO_SETTINGS_MODULE="tests.support.original.settings", PYTHONPATH=str(ROOT)
    )
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No changes" in done.stdout


# -- checks ------------------------------------------------------------------------


@pytest.mark.django_db(databases=["default", "server"])
def test_a_sound_project_has_nothing_to_hear():
    found = django_checks.run_checks()
    assert [m for m in found if str(m.id).startswith("simpletask2_celery")] == []


PROJECT = """
import django
from celery import Celery
from django.conf import settings
settings.configure(INSTALLED_APPS=["simpletask2_celery"], {settings})
{app}
django.setup()
from simpletask2_celery.checks import celery_app
found = celery_app.celery_app() + celery_app.reuse_of_connections()
print([message.id for message in found if message.hint])
"""
APP = "Celery('p').config_from_object('django.conf:settings', namespace='CELERY')"


@pytest.mark.parametrize(
    ("app", "settings", "expected"),
    [
        ("", "", ["simpletask2_celery.W001"]),
        (APP, "", ["simpletask2_celery.W002"]),
        (APP, "CELERY_DB_REUSE_MAX=0", ["simpletask2_celery.W002"]),
        (APP, "CELERY_DB_REUSE_MAX=100", []),
    ],
)
def test_the_celery_app_and_its_connections(app, settings, expected):
    program = PROJECT.format(app=app, settings=settings)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.stdout.strip() == str(expected), done.stderr


@pytest.mark.parametrize("name", ["AUTO_RESET_INTERVAL", "DO_AUTO_RESET", "SHORTCUTS"])
def test_a_wrong_setting_is_named_by_the_check_and_not_by_a_traceback(name):
    setting = f"DJANGO_SIMPLETASK2_{name}"
    program = (
        f"from django.conf import settings\n"
        f"settings.configure(INSTALLED_APPS=['simpletask2_celery'], {setting}='often')\n"
        f"from celery import Celery\nCelery('p').finalize()\n"
        f"from django.core.management import execute_from_command_line as run\n"
        f"run(['manage.py', 'check'])\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert f"(simpletask2_celery.E002) {setting} takes" in done.stderr


@pytest.mark.django_db(databases=["default", "server"])
def test_a_deployment_is_told_of_security_and_nobody_else(settings, monkeypatch):
    del settings.DJANGO_SIMPLETASK2_ACLKEY
    monkeypatch.setattr(celery_app, "has_app", lambda: True)
    monkeypatch.setitem(current_app.conf, "accept_content", ["json", "pickle"])
    deploy = django_checks.run_checks(tags=["security"], include_deployment_checks=True)
    ours = [m.id for m in deploy if str(m.id).startswith("simpletask2_celery")]
    # Django keeps the checks in a set: their order is chance.
    assert sorted(ours) == [f"simpletask2_celery.W00{number}" for number in (4, 5, 6)]
    found = [m.id for m in django_checks.run_checks()]
    assert not {*ours} & {*found}


FILES = {
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "proj/__init__.py": "from .celery import app as celery_app",
    "proj/celery.py": """
import os
from celery import Celery, Task
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")
""",
    "proj/settings.py": """
SECRET_KEY = "proj"
INSTALLED_APPS = ["simpletask2_celery", "proj"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CELERY_BROKER_URL = "redis://127.0.0.1:1/0"
CELERY_DB_REUSE_MAX = 100
""",
    "proj/models.py": """
from simpletask2_celery.models import SimpleTask
class Note(SimpleTask):
    def do_task_main(self, payload):
        pass
""",
    "old.yml": "redis: redis://127.0.0.1:1/7\n",
}
ROWS, RESET = "simpletask2_celery.do_task", "simpletask2_celery.do_auto_reset"
PRUNE, CREATE = "simpletask2_celery.do_prune", "simpletask2_celery.create"
FILE = "from simpletask2_celery import config_file\napp.conf.update(config_file.load('old.yml'))"
BASE = "class Base(Task):\n    {}\napp.task_cls = Base"
LIMIT, UNLIMITED = {"rate_limit": "10/s"}, {"rate_limit": None}
OWN_TASKS = """
class OwnTasks:
    def annotate(self, task):
        if not task.name.startswith("simpletask2_celery."):
            return {"rate_limit": "10/s"}
CELERY_TASK_ANNOTATIONS = [OwnTasks()]
"""


def checked(folder, more, command=("manage.py", "check")):
    """Run Python in a project whose files have ``more``; return the ids, and what it says."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text + more.get(name.removeprefix("proj/"), ""))
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environ(DJANGO_SETTINGS_MODULE="proj.settings", PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said and done.returncode in (0, 1), said
    return re.findall(r"\(simpletask2_celery\.([EW]\d+)\)", said), said


def annotated(options, task="*"):
    return {"settings.py": f"CELERY_TASK_ANNOTATIONS = {{'{task}': {options}}}"}


def based(line):
    return {"celery.py": BASE.format(line)}


@pytest.mark.parametrize(
    ("more", "expected", "words"),
    [
        ({}, [], ["no issues"]),
        # -- the app is not installed
        (
            {"settings.py": "INSTALLED_APPS = ['proj']"},
            ["E007"],
            ["proj.Note: (", 'HINT: Add "simpletask2_celery" to INSTALLED_APPS.'],
        ),
        # -- nothing is called that waits for the app to be finalized
        ({"celery.py": "app.on_after_finalize.connect(lambda **_: exit(9), weak=False)"}, [], []),
        # -- names of settings
        (
            {"settings.py": "DJANGO_SIMPLETASK2_HARTBEAT = 20"},
            ["W012"],
            ["the nearest is DJANGO_SIMPLETASK2_HEARTBEAT"],
        ),
        # -- the broker of the settings
        ({"celery.py": FILE}, ["W014"], ["URL is redis://127.0.0.1:1/0, but", "127.0.0.1:1/7."]),
        (
            {"celery.py": FILE, "settings.py": "CELERY_BROKER_URL = 'redis://127.0.0.1:1/7'"},
            [],
            [],
        ),
        ({"celery.py": FILE, "settings.py": "del CELERY_BROKER_URL"}, [], []),
        ({"celery.py": "app.conf.broker_url = 'redis://:secret@h'"}, ["W014"], ["redis://:**@h"]),
        (
            {
                "celery.py": "app.conf.broker_url = "
                "'sentinel://:secret@h:1;sentinel://:secret@i:2;secret@j'"
            },
            ["W014"],
            ["sentinel://:**@h:1/;sentinel://:**@i:2/;a URL"],
        ),
        (
            {"celery.py": "app.conf.broker_url = ['redis://:secret@h', 'redis://:secret@i']"},
            ["W014"],
            ["redis://:**@h/;redis://:**@i/"],
        ),
        ({"celery.py": "app = Celery('proj', broker='redis://h')"}, ["W002", "W008", "W014"], []),
        ({"settings.py": "CELERY_BROKER_URL = 'redis://127.0.0.1:1'"}, [], []),
        # -- two apps
        (
            {"celery.py": "other = Celery('other', broker='redis://h')"},
            ["W002", "W008", "W014"],
            ["'other'"],
        ),
        (
            {"celery.py": "other = Celery('other', broker='redis://h', set_as_current=False)"},
            [],
            [],
        ),
        (
            {
                "celery.py": "other = Celery('again')\n"
                "other.config_from_object('django.conf:settings', namespace='CELERY')"
            },
            [],
            [],
        ),
        # -- the tasks
        (
            annotated({"serializer": "pickle"}),
            ["E012"] * 4,
            [ROWS, RESET, PRUNE, CREATE],
        ),
        (annotated({"rate_limit": "10/s"}), ["W013", "W013"], [ROWS, RESET, "rate_limit = '10/s'"]),
        (annotated({"rate_limit": "10/s"}, ROWS), [], []),
        (annotated({"rate_limit": "10/s"}, "proj.mail"), [], []),
        # "*" counts before a task's own name; an object can leave a task out
        (
            {"settings.py": f"CELERY_TASK_ANNOTATIONS = {{'*': {LIMIT}, '{ROWS}': {UNLIMITED}}}"},
            ["W013", "W013"],
            [ROWS, RESET],
        ),
        ({"settings.py": OWN_TASKS}, [], []),
        ({"settings.py": "CELERY_TASK_DEFAULT_RATE_LIMIT = '9/m'"}, ["W013", "W013"], ["'9/m'"]),
        (based("rate_limit = '10/s'"), ["W013"], [ROWS, "rate_limit"]),
        (based("expires = 60"), ["W013"], [ROWS, "expires = 60"]),
        (annotated({"acks_late": False}), ["W013"] * 2, [ROWS, CREATE, "acks_late = False"]),
        (annotated({"reject_on_worker_lost": True}), ["W013"], [ROWS, "reject_on_worker_lost"]),
        (annotated({"retry_on_worker_lost": True}), ["W013"], [ROWS, "retry_on_worker_lost"]),
        (annotated({"ignore_result": False}), ["W013"], [ROWS, "ignore_result = False"]),
        (annotated({"Strategy": "x:y"}), ["W013"] * 4, [ROWS, RESET, PRUNE, CREATE, "'x:y'"]),
        # -- what the tasks hold beside
        (annotated({"max_retries": 9, "track_started": True}), [], []),
        (based("autoretry_for = (Exception,)"), [], []),
        (based("acks_late = False; ignore_result = False; serializer = 'pickle'"), [], []),
        (based("reject_on_worker_lost = retry_on_worker_lost = True"), [], []),
        (
            {
                "settings.py": "CELERY_TASK_ACKS_LATE = CELERY_TASK_IGNORE_RESULT = False\n"
                "CELERY_TASK_REJECT_ON_WORKER_LOST = CELERY_TASK_RETRY_ON_WORKER_LOST = True\n"
                "CELERY_TASK_SERIALIZER = 'yaml'"
            },
            [],
            [],
        ),
    ],
)
def test_a_project_is_told_what_is_wrong_with_it(tmp_path, more, expected, words):
    ids, said = checked(tmp_path, more)
    assert ids == expected, said
    assert [word for word in words if word not in said] == []


IN_A_THREAD = """
import threading, django
from django.core.checks import run_checks
django.setup()
found = []
thread = threading.Thread(target=lambda: found.extend(run_checks()))
thread.start()
thread.join()
print(*(f"({one.id}) {one.msg}" for one in found))
"""


@pytest.mark.parametrize(
    ("more", "expected"), [("other = Celery('other', broker='redis://h')", ["W008"]), ("", [])]
)
def test_two_apps_are_found_where_runserver_checks_as_well(tmp_path, more, expected):
    """Its thread is another one than that which has made the apps."""
    ids, said = checked(tmp_path, {"celery.py": more}, ["-c", IN_A_THREAD])
    assert ids == expected, said


def test_threads_of_an_app_that_is_no_default_would_publish_elsewhere(tmp_path):
    (tmp_path / "bare.py").write_text("INSTALLED_APPS = ['simpletask2_celery']\nSECRET_KEY = 'x'")
    early = "import os; del os.environ['DJANGO_SETTINGS_MODULE']; from celery import Celery\n"
    early += "app = Celery('early', broker='redis://127.0.0.1:1/0')\n"
    early += "app.conf.CELERY_DB_REUSE_MAX = 100\n"
    program = early + FILES["manage.py"].replace("proj.settings", "bare")
    ids, said = checked(tmp_path, {}, ["-c", program, "check"])
    assert ids == ["W008"] and "there is no default app" in said


# -- errors and texts ----------------------------------------------------------------


# -- admin ---------------------------------------------------------------------------
