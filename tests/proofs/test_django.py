"""What Django promises of a model holds for one that is a task: its own tests say so."""

import fcntl
import os
from pathlib import Path

import pytest

from tests.proofs.django_suite import databases, run, source


@pytest.fixture(scope="session")
def tests():
    """Return where Django's tests are; fetched once for all processes of a run."""
    folder = Path(os.environ["TEST_BASE"], "django")
    folder.mkdir(exist_ok=True)
    with (folder / "fetching").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = next(folder.glob("django-*/tests"), None)
        return found or source.fetch(folder)


@pytest.mark.parametrize("base", run.BASES)
@pytest.mark.parametrize("kind", databases.KINDS)
def test_nothing_fails_that_is_not_inherent(tests, tmp_path, kind, base):
    with databases.lent(kind, tmp_path) as found:
        faults = run.faults(tests, tmp_path / base, base, found)
    assert faults == {}, "\n\n".join(f"{name}\n{said}" for name, said in faults.items())
