import pytest


@pytest.fixture(scope="session")
def servers():
    """Keep tests that need a server out of this ring."""
    pytest.fail("A test of tests/unit has asked for a database or a broker.")
