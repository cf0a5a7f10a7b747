"""The original's Redis lists, as its own processes see them."""

from simpletask2_celery.publishing import to_lists
from tests.support.fixtures import redis


def lists(channel="default"):
    entries = redis().lrange(to_lists.list_of(channel), 0, -1)
    return entries, redis().smembers(to_lists.flags_of(channel))


def push(*entries, channel="default"):
    """Push as a web process of the original does."""
    for entry in entries:
        redis().sadd(to_lists.flags_of(channel), entry)
        redis().rpush(to_lists.list_of(channel), entry)
