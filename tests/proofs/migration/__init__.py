"""A project that moves from the original to ours; ``MIGRATION_SIDE`` says where it is."""

import os

if os.environ.get("MIGRATION_SIDE") == "ours":
    from .celery import app  # noqa: F401
