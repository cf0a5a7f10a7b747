"""What django-tasks-db tests of a backend holds for ours: its own tests say so."""

import fcntl
import os
from pathlib import Path

import pytest

from tests.proofs.django_suite import databases
from tests.proofs.django_tasks_suite import run
from tests.support import database

URL = os.environ.get("TEST_DATABASE_URL", "")
IS_MARIADB = URL.startswith("mysql")


@pytest.fixture(scope="session")
def module():
    """Return the module of the tests; fetched once for all processes of a run."""
    folder = Path(os.environ["TEST_BASE"], "django-tasks-db")
    folder.mkdir(exist_ok=True)
    with (folder / "fetching").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = next(folder.glob("django_tasks_db-*/tests/tests.py"), None)
        return found or run.fetch(folder)


@pytest.mark.parametrize("kind", [*databases.KINDS, *(["mariadb"] if IS_MARIADB else [])])
def test_nothing_fails_that_applies(module, tmp_path, kind):
    if kind == "mariadb":
        own = {**database.server(URL), "TEST": {"NAME": f"{database.RUN}_tasks"}}
        faults = run.faults(module, tmp_path / "suite", {"default": own})
    else:
        with databases.lent(kind, tmp_path) as lent:
            faults = run.faults(module, tmp_path / "suite", {"default": lent["default"]})
    assert faults == {}, "\n\n".join(f"{name}\n{said}" for name, said in faults.items())
