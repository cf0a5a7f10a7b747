"""Empty the tables between two tests by DELETE, where Django would TRUNCATE.

Django's way takes 40 ms on SQLite and 75 ms on PostgreSQL, at each test and database: it
writes every table anew, then content types and permissions. A DELETE of an empty table
costs microseconds, and those two tables stay as the migrations have made them.
"""

from django.apps import apps
from django.db import connections, transaction
from django.test import TransactionTestCase

KEPT = {"django_content_type", "auth_permission"}


def use_delete():
    """Have the transactional tests of this process leave empty tables by DELETE."""
    TransactionTestCase._fixture_teardown = _empty_all


def _empty_all(case):
    for alias in case._databases_names(include_mirrors=False):
        empty(alias)


def empty(alias):
    """Delete the rows of all models in a database."""
    connection = connections[alias]
    models = apps.get_models(include_auto_created=True)
    tables = sorted({model._meta.db_table for model in models} - KEPT)
    names = [connection.ops.quote_name(table) for table in tables]
    with connection.constraint_checks_disabled(), transaction.atomic(using=alias):
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":  # which takes them in one round trip
                cursor.execute("; ".join(f"DELETE FROM {name}" for name in names))
                return
            looks = ", ".join(f"EXISTS (SELECT 1 FROM {name})" for name in names)
            cursor.execute(f"SELECT {looks}")
            for name, has_rows in zip(names, cursor.fetchone(), strict=True):
                if has_rows:
                    cursor.execute(f"DELETE FROM {name}")
