"""Database connections that come from a pool, given back while nobody needs them.

Hundreds of threads that wait for slow requests share the few connections of a pool of
psycopg (Django's OPTIONS["pool"]); one that kept its own would keep others from theirs.
"""

from django.db import connections


def give_back() -> None:
    """Give this thread's pooled connections back, unless it is in a transaction."""
    for connection in connections.all(initialized_only=True):
        pooled = connection.settings_dict.get("OPTIONS", {}).get("pool")
        if pooled and not connection.in_atomic_block:
            connection.close()
