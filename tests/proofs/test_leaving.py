"""What the page about moving says of the original's app, its tables and its old names."""

import os
import re
import subprocess
import sys

import pytest

from tests.support import originals
from tests.support.fixtures import ROOT

SETTINGS = """
import os
import sys

SECRET_KEY = "tests"
USE_TZ = True
SIDES = os.environ["SIDES"].split()
sys.path += os.environ.get("ORIGINALS", "").split()
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", *SIDES, "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://nowhere"}}
CELERY_DB_REUSE_MAX = 100000
"""
MODELS = """
import os

if os.environ["SIDES"].endswith("simpletask2_celery"):
    from simpletask2_celery.models import SimpleTask
else:
    from django_simpletask2.models import SimpleTask


class Task(SimpleTask):
    def do_task_main(self, payload=None):
        pass
"""
CELERY = """
from celery import Celery

app = Celery("shop", broker="memory://")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""
ORIGINAL, BOTH, OURS = (
    "django_simpletask2",
    "django_simpletask2 simpletask2_celery",
    "simpletask2_celery",
)
PAGE = ROOT / "docs/move/migrating.md"


@pytest.fixture
def manage(tmp_path):
    """Run a command of manage.py on one side, on the database of the test."""
    web = originals.web_python()
    [packages] = web.parents[1].glob("lib/python*/site-packages")
    files = {
        "settings.py": SETTINGS,
        "shop/models.py": MODELS,
        "shop/__init__.py": "",
        "shop/migrations/__init__.py": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    def run(sides, *command):
        if sides != ORIGINAL:
            (tmp_path / "shop/__init__.py").write_text(CELERY)
        python = web if sides == ORIGINAL else sys.executable
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path),
            "DJANGO_SETTINGS_MODULE": "settings",
            "SIDES": sides,
            "ORIGINALS": str(packages) if sides == BOTH else "",
        }
        done = subprocess.run(
            [str(python), *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{sides}: {command}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run


DJANGO = "-m", "django"


def test_the_app_of_the_original_leaves_or_stays(manage):
    manage(ORIGINAL, *DJANGO, "makemigrations", "shop")
    manage(ORIGINAL, *DJANGO, "migrate")
    for sides in (BOTH, OURS):
        assert "no issues" in manage(sides, *DJANGO, "check")
        assert "No changes detected" in manage(sides, *DJANGO, "makemigrations", "--check")
        assert "No migrations to apply" in manage(sides, *DJANGO, "migrate")
    manage(BOTH, *DJANGO, "migrate", "django_simpletask2", "zero")
    tables = "from django.db import connection as c; print(*c.introspection.table_names())"
    left = manage(OURS, *DJANGO, "shell", "-v", "0", "-c", tables).split()
    assert "shop_task" in left and not [name for name in left if ORIGINAL in name]
    manage(OURS, *DJANGO, "remove_stale_contenttypes", "--include-stale-apps", "--no-input")
    manage(OURS, *DJANGO, "check", "--fail-level", "WARNING")


def gone():
    """Return the old names of the page's table: commands, settings, calls, attributes."""
    table = PAGE.read_text().partition("| gone | in its place |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if "`" in line]
    names = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    assert names.pop(0) == "django-simpletask2-server"  # of another package
    return names


HAS = """
import sys

import django

django.setup()
from importlib import import_module

from django.core.management import get_commands
from shop.models import Task

package = Task.__mro__[1].__module__.partition(".")[0]
urls = [path.name.partition(".")[2] for path in import_module(package + ".urls").urlpatterns]
settings = open(import_module(package + ".conf" if OURS else package + ".settings").__file__).read()
for name in sys.argv[1:]:
    last = name.rpartition(".")[2].rpartition("/")[2]
    if name.startswith("manage.py "):
        there = name.partition(" ")[2] in get_commands()
    elif name.startswith("POST ") or name.startswith("GET "):
        there = last in urls
    elif name.startswith("DJANGO_"):
        there = name.removeprefix("DJANGO_SIMPLETASK2_") in settings
    elif name.startswith("row."):
        there = hasattr(Task, last.removesuffix("()"))
    else:
        module, _, attribute = name.rpartition(".")
        try:
            there = hasattr(import_module(module.replace("django_simpletask2", package)), attribute)
        except ImportError:
            there = False
    print(name if there else "")
"""


def test_what_the_page_calls_gone_is_gone(manage):
    names = gone()
    assert len(names) > 8
    was = manage(ORIGINAL, "-c", f"OURS = False\n{HAS}", *names).splitlines()
    assert was == names
    assert manage(OURS, "-c", f"OURS = True\n{HAS}", *names).split() == []
