"""Indexes that a model may have, so that resets and figures stay fast on old rows."""

from typing import Any

from django.db import models

DONE = 30


class _PartialIndex(models.Index):
    """An index that is partial where the database can tell by a query's parameters.

    That is PostgreSQL; elsewhere it is of all rows.
    """

    where: models.Q

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        """Return the statement that creates the index."""
        if schema_editor.connection.vendor != "postgresql":
            return super().create_sql(model, schema_editor, using, **kwargs)
        partial = models.Index(fields=self.fields, name=self.name, condition=self.where)
        return partial.create_sql(model, schema_editor, using, **kwargs)


class AutoResetIndex(_PartialIndex):
    """An index of the rows that are not DONE, by status and lease.

    SQLite has no use for it in a reset.
    """

    where = ~models.Q(status=DONE)


class HistoryIndex(_PartialIndex):
    """An index of the rows that are DONE, by how they ended and when."""

    where = models.Q(status=DONE)
