"""The index of auto-reset in a migration."""

import pytest
from django.db.migrations.writer import MigrationWriter

from simpletask2_celery.indexes import AutoResetIndex
from tests.support.project.jobs.models import Job


def test_a_migration_can_hold_it():
    index = Job.auto_reset_index("jobs_job")
    text, _ = MigrationWriter.serialize(index)
    assert text.startswith("simpletask2_celery.indexes.AutoResetIndex(")
    path, args, kwargs = index.deconstruct()
    assert AutoResetIndex(*args, **kwargs) == index
    with pytest.raises(ValueError, match="24 characters"):
        Job.auto_reset_index("a" * 25)
