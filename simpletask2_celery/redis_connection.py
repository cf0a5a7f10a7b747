"""Clients to the project's Redis that give up early, made from its own connection."""

from typing import Any

_clients: dict[Any, Any] = {}


def bounded(connection: Any, seconds: float) -> Any:
    """Return a client to the same server: ``seconds`` for each operation, no retry.

    A client of Sentinel, or of a class of the user's own, keeps its own timeouts.
    """
    import redis  # which takes longer than all of Django's start, and is not always needed
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    pool = connection.connection_pool
    if type(pool) not in (redis.ConnectionPool, redis.BlockingConnectionPool):
        return connection
    key = pool, seconds
    if key not in _clients:
        limits = {
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "retry": Retry(NoBackoff(), 0),
        }
        kwargs = {**pool.connection_kwargs, **limits}
        _clients[key] = redis.Redis(
            connection_pool=redis.ConnectionPool(pool.connection_class, **kwargs)
        )
    return _clients[key]
