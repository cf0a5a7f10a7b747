"""The project's Redis, and questions to it that are given up early, by connections of our own."""

from collections.abc import Callable
from typing import Any, TypeVar

from ..conf import conf
from . import at_once, deadline

T = TypeVar("T")
_clients: dict[Any, Any] = {}


def of_project() -> Any:
    """Return django-redis's connection of the cache that the settings name.

    Raises NotImplementedError where that cache is no django-redis cache.
    """
    from django_redis import get_redis_connection  # which imports redis: not before it is needed

    return get_redis_connection(conf.redis_name)


def ask(connection: Any, question: Callable[[Any], T], seconds: float) -> T:
    """Return what ``question(client)`` returns, by a client to the connection's server.

    Raises what it raises, and TimeoutError after ``seconds``, which resolvers and Sentinels do not
    count.
    """
    client = bounded(connection)
    return at_once.answer("Redis", lambda: question(client), seconds)


def bounded(connection: Any) -> Any:
    """Return a client to the same server whose operations have limits, and no retry.

    A client of Sentinel, or of a class of the user's own, keeps its own timeouts.
    """
    import redis  # which takes longer than all of Django's start, and is not always needed
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    pool, seconds = connection.connection_pool, deadline.operation()
    if type(pool) not in (redis.ConnectionPool, redis.BlockingConnectionPool):
        return connection
    if (pool, seconds) not in _clients:
        limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
        options = {**pool.connection_kwargs, **limits, "retry": Retry(NoBackoff(), 0)}
        limited = redis.ConnectionPool(pool.connection_class, **options)
        _clients[pool, seconds] = redis.Redis(connection_pool=limited)
    return _clients[pool, seconds]
