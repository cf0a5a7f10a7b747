"""What fields hold. django-stubs tells mypy by its plugin; pyright knows of no field."""

from typing import assert_type

from .models import Hello


def fields(row: Hello) -> None:
    assert_type(row.name, str)
    assert_type(row.status, int)
    assert_type(row.success, bool | None)
    assert_type(row.get_status_display(), str)
