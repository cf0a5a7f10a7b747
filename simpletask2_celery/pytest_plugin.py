"""Fixtures for pytest. Imports nothing of Django before one of them is asked for."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import Published, Run


@pytest.fixture
def simpletask2_published() -> "Iterator[Published]":
    """Catch what the test publishes: ``simpletask2_celery.testing.published()``."""
    from .testing import published

    with published() as caught:
        yield caught


@pytest.fixture
def simpletask2_run() -> "Callable[..., Run[Any]]":
    """Return ``simpletask2_celery.testing.run``, which runs a row to its end."""
    from .testing import run

    return run
