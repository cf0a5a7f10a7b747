"""Rings by folder; the servers start where a ring needs them, and not before."""

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support import services, tables

tables.use_delete()
SUPPORT = ("fixtures", "hearing", "sites", "browser", "yaml_file", "egress")
pytest_plugins = [f"tests.support.{name}" for name in SUPPORT]

#: More than the two cores of a small machine: much of a test is waiting for processes.
PROCESSES = 3
HERE = Path(__file__).parent
#: Files whose tests share what takes long to make: each file runs in one process.
SHARING = {
    "tests/acceptance/test_admin_browser.py": "a Chromium",
    "tests/acceptance/test_browser.py": "a Chromium",
    "tests/acceptance/test_dashboard_browser.py": "a Chromium",
    "tests/acceptance/test_guarantees.py": "four processes that run rows",
    "tests/proofs/test_differential.py": "what both sides have seen",
    "tests/proofs/test_faults.py": "the lanes that run the faults",
}


def ring_of(path):
    """Return the ring of a test file, the first folder below this one."""
    return path.relative_to(HERE).parts[0]


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers(config):
    """Run one file, or the ring that takes seconds, in this process; others in several."""
    paths = [Path(config.invocation_params.dir, arg.split("::")[0]) for arg in config.args]
    is_small = all(path.is_file() or path.resolve() == HERE / "unit" for path in paths)
    return 0 if is_small and len(paths) == 1 else PROCESSES


class Scheduling(LoadScopeScheduling):
    """Hand out single tests, and the files of SHARING whole.

    pytest-xdist 3.8's own way for that, the mark xdist_group, does nothing on pytest 9.2.
    """

    def _split_scope(self, nodeid):
        path = nodeid.partition("::")[0]
        return path if path in SHARING else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(getattr(pytest.mark, ring_of(item.path)))


@pytest.fixture(scope="session")
def servers():
    """The broker and the database server of the run."""
    services.start()


@pytest.fixture(scope="session", autouse=True)
def servers_of_the_ring(request):
    """Start the servers before the first test of any ring but the units'.

    Not by the fixture of that name: that of the units refuses.
    """
    if any(ring_of(item.path) != "unit" for item in request.session.items):
        services.start()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers):
    """Start the servers. Each process has its own database already, by its name."""
