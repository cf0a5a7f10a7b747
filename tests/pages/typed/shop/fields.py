"""What fields hold. django-stubs tells mypy by its plugin; pyright knows of no field."""

import datetime
from typing import assert_type

from .models import Charge, Hello


def fields(row: Hello) -> None:
    assert_type(row.name, str)
    assert_type(row.status, int)
    assert_type(row.success, bool | None)
    assert_type(row.get_status_display(), str)


def fields_of_durable(row: Charge) -> None:
    assert_type(row.attempts, int)
    assert_type(row.lost_attempts, int)
    assert_type(row.run_after, datetime.datetime | None)
    assert_type(row.worker, str | None)
