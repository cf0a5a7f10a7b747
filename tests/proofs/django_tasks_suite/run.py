"""Fetch the tests, and run those that apply: ``python -m tests.proofs.django_tasks_suite.run``."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.proofs.django_suite.run import failures
from tests.proofs.django_tasks_suite import inherent

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
NAME, VERSION = "django-tasks-db", "0.13.0"
LIMIT = 300  # seconds of one run; it takes some ten
LEAST = 35  # tests that apply

#: How many queries its worker makes is no promise of a backend's.
_COUNTED = re.compile(r'self\.assertNumQueries\((\d+ if connection.vendor == "mysql" else )\d+\)')

_SETTINGS = """
import pathlib
from celery import Celery

app = Celery("suite", broker="memory://")
app.set_default()
BASE_DIR = pathlib.Path(__file__).parent
SECRET_KEY = "of a test"
USE_TZ = True
DATABASES = {databases!r}
if DATABASES["default"]["ENGINE"].endswith("mysql"):
    import pymysql

    pymysql.version_info = (2, 2, 1, "final", 0)
    pymysql.install_as_MySQLdb()
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "simpletask2_celery",
    "simpletask2_celery.django_tasks",
    "django_tasks_db",
]
TASKS = {{"default": {{"BACKEND": "django_tasks_db.DatabaseBackend"}}}}
CACHES = {{"default": {{"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}}}
"""


def fetch(folder):
    """Return the module of the tests, as the index has it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ":all:", "--dest", str(folder), f"{NAME}=={VERSION}"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    [archive] = folder.glob("django_tasks_db-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz")) / "tests/tests.py"


def names(module):
    """Return the names of all tests of a module, as "Class.test"."""
    return {
        f"{case.name}.{test.name}"
        for case in ast.parse(module.read_text()).body
        if isinstance(case, ast.ClassDef)
        for test in case.body
        if isinstance(test, (ast.FunctionDef, ast.AsyncFunctionDef))
        and test.name.startswith("test_")
    }


def applying(module):
    """Return the names of the tests that apply; fail for a name in the list that is none."""
    left_out = {name for some in inherent.REASONS.values() for name in some}
    every = names(module)
    assert left_out <= every, left_out - every
    return sorted(every - left_out)


def faults(module, folder, databases):
    """Return the tests that fail, with what they say; empty if none does."""
    (folder / "tests").mkdir(parents=True)
    (folder / "tests/__init__.py").touch()
    (folder / "tests/tests.py").write_text(
        _COUNTED.sub("contextlib.nullcontext()", module.read_text())
    )
    shutil.copy(HERE / "tasks.py", folder / "tests")
    (folder / "suite_settings.py").write_text(_SETTINGS.format(databases=databases))
    labels = [f"tests.tests.{name}" for name in applying(module)]
    done = subprocess.run(
        [sys.executable, "-m", "django", "test", "--noinput", *labels],
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
            "PYTHONPATH": os.pathsep.join(map(str, [folder, HERE / "shim", ROOT])),
            "DJANGO_SETTINGS_MODULE": "suite_settings",
        },
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    ran = re.search(r"^Ran (\d+) tests", done.stderr, re.M)
    assert ran, done.stdout[-3000:] + done.stderr[-3000:]
    skipped = re.search(r"skipped=(\d+)", done.stderr)  # which Python 3.12.1 does not count as run
    least = len(labels) - int(skipped[1]) if skipped else len(labels)
    assert max(LEAST, least) <= int(ran[1]) <= len(labels), ran[0]
    return failures(done.stderr)


def main():
    with tempfile.TemporaryDirectory() as base:
        module = fetch(Path(base))
        sqlite = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
        failed = faults(module, Path(base, "sqlite"), sqlite)
        print(f"{len(applying(module))} tests apply, {len(failed)} fail")
        for name, said in failed.items():
            print(f"\n{name}\n{said}")
        for reason, tests in inherent.REASONS.items():
            print(f"\nNot applied: {reason}")
            print("\n".join(f"  {name}" for name in tests))
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
