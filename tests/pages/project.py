"""A page's Django project: a folder with the files of its blocks, and its processes."""

import json
import os
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

from django import VERSION
from django.core.management import call_command

from tests.support.fixtures import ROOT
from tests.support.pages import blocks

BIN = Path(sys.executable).parent
QUICKSTART = ROOT / "docs/learn/quickstart.md"
SETTINGS = """
INSTALLED_APPS = [*(BASE := INSTALLED_APPS), "simpletask2_celery"]
CELERY_BROKER_URL = "redis://127.0.0.1:6379/0"
CELERY_DB_REUSE_MAX = 100
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:6379/1",
    }
}
DATABASES["default"]["OPTIONS"] = {"timeout": 20, "transaction_mode": "IMMEDIATE"}
"""
#: After the page's own settings, which may say [..., "simpletask2_celery"].
APPS = "INSTALLED_APPS = [*{{*BASE, *INSTALLED_APPS, *{apps}}} - {{...}}]\n"
#: Hypothesis is there for our own tests, and takes a second to import.
PYTEST = ["pytest", "-q", "-p", "no:hypothesispytest"]
AT_ONCE = Path(__file__).parent / "at_once.py"
#: What every project has in its package proj.
COMMON = {f"proj/{name}.py" for name in ("settings", "celery", "__init__", "urls")}


class Project:
    """A Django project in a folder of its own, made of the blocks of a page."""

    def __init__(self, folder, broker, site=""):
        self.folder = folder
        self.log = folder / "worker.log"
        self.files = set()
        self._places = {"redis://127.0.0.1:6379": broker, "https://api.example.com": site}

    # -- processes ----------------------------------------------------------------------

    def run(self, *command):
        """Run a command, which must succeed; return what it prints.

        Words as NAME=value before it are variables of its environment.
        """
        given = [*takewhile(lambda word: "=" in word, command)]
        environ = self._environ() | dict(word.split("=", 1) for word in given)
        command = command[len(given) :]
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True)
        log = self.log.read_text() if done.returncode and self.log.exists() else ""
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}{log}"
        return done.stdout

    def manage(self, *commands):
        """Run commands of manage.py, or pytest, each a list of words, in one process."""
        shutil.copy(AT_ONCE, self.folder)  # beside manage.py, to import what it would
        return self.run("python", AT_ONCE.name, json.dumps(commands))

    def start(self, *command):
        """Start a command that goes on until it is killed."""
        with self.log.open("a") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environ(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _environ(self):
        ours = ("DJANGO_", "TEST_", "PYTEST_", "COV_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}

    # -- files --------------------------------------------------------------------------

    def write(self, block):
        """Write the files of a block."""
        for path, text in block.files():
            self.add("proj/settings.py" if path == "settings.py" else path, text)

    def add(self, path, text):
        """Write a file, or add to it: what Django wrote, outside of proj, is replaced."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        adds = path in self.files or file.parent.name == "proj"
        with file.open("a" if adds else "w") as out:
            out.write(f"{self.here(text)}\n")
        self.files.add(path)

    def here(self, text):
        """Return a text with the addresses of this machine's servers."""
        for shown, real in self._places.items():
            text = text.replace(shown, real)
        # The pages write of Django 6; before it, its Tasks are those of the backport.
        return text if VERSION >= (6, 0) else text.replace("from django.tasks", "from django_tasks")

    def begin(self, page):
        """Make the project of a page; return what is to be typed into its shell."""
        call_command("startproject", "proj", str(self.folder))
        for block in blocks(QUICKSTART, "python"):
            if block.path in ("proj/celery.py", "proj/__init__.py"):
                self.write(block)
        self.add("proj/settings.py", SETTINGS)
        typed = []
        for block in blocks(page, "python", "yaml"):
            if block.path:
                self.write(block)
            else:
                typed.append(self.here(block.text))
        for app in self.apps():
            self.add(f"{app}/__init__.py", "")
            self.add(f"{app}/migrations/__init__.py", "")
        self.add("proj/settings.py", APPS.format(apps=self.apps()))
        return typed

    def apps(self):
        """Return the page's apps."""
        return sorted(str(Path(p).parent) for p in self.files if p.endswith("models.py"))

    def other_settings(self):
        """Return the modules of proj that are settings, as DJANGO_SETTINGS_MODULE."""
        mine = {path for path in self.files if path.startswith("proj/")} - COMMON
        return sorted(path.removesuffix(".py").replace("/", ".") for path in mine)
