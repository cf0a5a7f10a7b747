"""Function tasks in both databases of the tests."""

import pytest

from tests.support.project.jobs import functions


@pytest.fixture(autouse=True)
def on(using, settings):
    """Have function tasks kept in SQLite, and then on the database server."""
    settings.DATABASE_ROUTERS = [f"tests.support.project.routers.{using}"]
    for path in functions.mark("").parent.glob("function-*"):
        path.unlink()
    return using
