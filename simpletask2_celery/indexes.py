"""Indexes that a model may have, so that resets and figures stay fast in large tables."""

from typing import Any

from django.db import models

DONE = 30


class _PartialIndex(models.Index):
    """An index of some rows on PostgreSQL, and of all rows elsewhere.

    Only PostgreSQL sees by a query's parameters that a partial index will do.
    """

    where: models.Q

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        """Return the statement that creates the index."""
        if schema_editor.connection.vendor != "postgresql":
            return super().create_sql(model, schema_editor, using, **kwargs)
        partial = models.Index(fields=self.fields, name=self.name, condition=self.where)
        return partial.create_sql(model, schema_editor, using, **kwargs)


class AutoResetIndex(_PartialIndex):
    """An index of the rows that are not DONE, by status and lease. SQLite does not use it."""

    where = ~models.Q(status=DONE)


class HistoryIndex(_PartialIndex):
    """An index of the rows that are DONE, by how they ended and when."""

    where = models.Q(status=DONE)
