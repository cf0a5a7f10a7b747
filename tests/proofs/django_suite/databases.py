"""The databases of Django's tests: two each, "default" and "other"."""

from contextlib import contextmanager

import psycopg

from tests.proofs.faults.servers import PostgreSQL
from tests.support import database, services

KINDS = ("sqlite", "postgresql")


@contextmanager
def lent(kind, folder):
    """Lend Django's settings of two databases; a server's are in the folder."""
    if kind == "sqlite":
        engine = {"ENGINE": "django.db.backends.sqlite3"}
        yield {"default": engine, "other": dict(engine)}
        return
    server = PostgreSQL(folder)
    try:
        for name, value in services.FAST.items():
            server.sql(f"ALTER SYSTEM SET {name} = {value}")
        server.sql("SELECT pg_reload_conf()")
        # The wheel's server has no ICU; some of Django's models name this collation.
        with psycopg.connect(server.url.replace("/postgres?", "/template1?")) as template:
            template.execute('CREATE COLLATION IF NOT EXISTS "sv-x-icu" FROM "C"')
        own = database.server(server.url)
        yield {
            alias: {**own, "NAME": f"django_{alias}", "TEST": {}} for alias in ("default", "other")
        }
    finally:
        server.stop()
