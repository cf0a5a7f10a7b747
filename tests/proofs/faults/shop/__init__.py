from tests.proofs.faults.celery import app as celery_app

__all__ = ["Router", "celery_app"]


class Router:
    """The ledger in its own database, all else in the other."""

    def db_for_read(self, model, **hints):
        return "ledger" if model.__name__ == "Ledger" else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, model_name=None, **hints):
        if model_name is None:
            return None
        return (db == "ledger") == (model_name == "ledger")
