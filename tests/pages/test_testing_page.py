"""The page about the testing kit, in a user's project under unittest and pytest."""

import os
import re
import subprocess
import sys

import pytest

from tests.pages.project import PYTEST
from tests.support.database import server
from tests.support.fixtures import ROOT

SETTINGS = """
import os

SECRET_KEY = "tests"
USE_TZ = True
DATABASES = {database}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["simpletask2_celery", "app"]
CELERY_BROKER_URL = "memory://"
CELERY_DB_REUSE_MAX = 100000
"""


CELERY = """
from celery import Celery

app = Celery("project")
app.config_from_object("django.conf:settings", namespace="CELERY")
"""


INI = """
[pytest]
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""
SQLITE = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}


def page_blocks():
    """Return {path: text} of the page's Python blocks: each begins with its path."""
    page = (ROOT / "docs/guides/testing.md").read_text()
    blocks = re.findall(r"^```python\n# (\S+)\n(.*?)^```", page, re.M | re.S)
    assert len(blocks) == page.count("```python") == len(dict(blocks))
    return dict(blocks)


@pytest.fixture(params=["sqlite", "server"])
def project(request, tmp_path):
    """A project made of the page's blocks, on SQLite in memory and on a real server."""
    database = SQLITE
    if request.param == "server":
        request.getfixturevalue("servers")
        real = server(os.environ["TEST_DATABASE_URL"])
        database = {"default": {**real, "TEST": {"NAME": f"{real['TEST']['NAME']}_kit"}}}
    files = {
        "settings.py": SETTINGS.format(database=repr(database)),
        "project/__init__.py": "from .celery import app as celery_app",
        "project/celery.py": CELERY,
        "app/__init__.py": "import project",
        "app/tests/__init__.py": "",
        **page_blocks(),
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def python(folder, *arguments, **environment):
    extra = {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "error", **environment}
    command = [sys.executable, *arguments]
    env = {**os.environ, **extra}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def test_the_page_holds_under_unittest(project):
    blocked = "import sys; sys.modules['pytest'] = None\n"  # which not everybody has
    (project / "sitecustomize.py").write_text(blocked)
    (project / "app/tests/test_with_pytest.py").unlink()
    done = python(project, "-m", "django", "test", "app", DJANGO_SETTINGS_MODULE="settings")
    assert done.returncode == 0, done.stdout + done.stderr
    [count] = re.findall(r"Ran (\d+) tests", done.stderr)
    text = "".join(page_blocks().values())
    assert int(count) == len(re.findall(r"    (?:async )?def test_", text))


def test_the_page_holds_under_pytest(project):
    (project / "pytest.ini").write_text(INI)
    done = python(project, "-m", *PYTEST, DJANGO_SETTINGS_MODULE="settings")
    assert done.returncode == 0, done.stdout + done.stderr
    text = "".join(page_blocks().values())
    assert f"{len(re.findall(r'def test_', text))} passed" in done.stdout


def test_a_project_without_django_is_left_alone(tmp_path):
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n"
        "def test_nothing_heavy_is_loaded(request):\n"
        '    assert request.config.pluginmanager.has_plugin("simpletask2_celery")\n'
        '    for name in ("django", "celery", "requests", "simpletask2_celery.testing"):\n'
        "        assert name not in sys.modules, name\n"
    )
    done = python(tmp_path, "-m", *PYTEST, "-p", "no:django", "-p", "no:cov")
    assert done.returncode == 0, done.stdout + done.stderr
