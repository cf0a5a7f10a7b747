"""Routers that put function tasks into one of the tests' databases."""


class default:
    """SQLite."""

    def db_for_write(self, model, **hints):
        return type(self).__name__ if model._meta.model_name == "functiontask" else None

    db_for_read = db_for_write


class server(default):
    """The database server."""
