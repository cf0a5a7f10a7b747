"""Functions that the tests import."""

from contextlib import ContextDecorator
from uuid import UUID


class exclusive_transaction(ContextDecorator):
    """Of tests that do not apply."""

    def __init__(self, using="default"):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *error):
        pass


def normalize_uuid(value):
    return str(UUID(str(value)))
