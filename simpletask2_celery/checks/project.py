"""Settings: their names, their types, and what they let others do."""

import difflib

from django.conf import settings
from django.core.cache import InvalidCacheBackendError

from ..conf import all_settings, conf
from ..rows.model import Row
from .handlers import leases
from .registry import Problems, check


@check(id="simpletask2_celery.E002")
def types() -> Problems:
    """A setting of the wrong type."""
    for setting in all_settings():
        if problem := setting.problem():
            yield problem, "docs/reference/settings.md has the types and the defaults."


@check(id="simpletask2_celery.E003")
def redis_cache() -> Problems:
    """The Redis lists are in use, and their cache is no django-redis cache."""
    try:
        if conf.publish_to != "celery" or conf.legacy_channels:
            Row.get_redis_conn()
    except (NotImplementedError, InvalidCacheBackendError):
        yield (
            f"CACHES has no django-redis cache {conf.redis_name!r}, which "
            "DJANGO_SIMPLETASK2_PUBLISH_TO and _LEGACY_CHANNELS need for the Redis lists.",
            'Give it the BACKEND "django_redis.cache.RedisCache", or name another alias in '
            "DJANGO_SIMPLETASK2_REDIS_NAME.",
        )


@check(id="simpletask2_celery.W004", deploy=True)
def aclkey() -> Problems:
    """The key of the HTTP API is the project's SECRET_KEY."""
    key = getattr(settings, "DJANGO_SIMPLETASK2_ACLKEY", settings.SECRET_KEY)
    if key == settings.SECRET_KEY:
        yield (
            "DJANGO_SIMPLETASK2_ACLKEY is the project's SECRET_KEY: whoever drives tasks over "
            "HTTP would know what signs the sessions.",
            "Set DJANGO_SIMPLETASK2_ACLKEY to a long random value of its own.",
        )


@check(id="simpletask2_celery.W005", deploy=True)
def proxy_policy() -> Problems:
    """A proxy request may reach whatever the worker's machine reaches."""
    hosts = conf.proxy_allowed_hosts
    if not conf.proxy_refuse_private and (not hosts or "*" in hosts):
        yield (
            "Proxy requests may go to any address that the workers reach, the metadata of a "
            "cloud and services without a password included.",
            "Set DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = True, or the hosts that your tasks "
            "need in DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS.",
        )


@check(id="simpletask2_celery.W007")
def heartbeat() -> Problems:
    """Leases that are over before the heartbeat has renewed them."""
    for model, lease in leases():
        if conf.heartbeat * 2 > lease:
            yield (
                f"DJANGO_SIMPLETASK2_HEARTBEAT is {conf.heartbeat} s, and {model.__name__} has "
                f"do_task_timeout = {lease} s: one late renewal, and the row runs again while "
                "it runs.",
                "Set DJANGO_SIMPLETASK2_HEARTBEAT to a third of the shortest do_task_timeout "
                "or less.",
                model,
            )


@check(id="simpletask2_celery.W012")
def setting_names() -> Problems:
    """A setting that has nearly the name of one of ours, and so no effect."""
    known = [setting.name for setting in all_settings()]
    for name in dir(settings):
        if "SIMPLETASK" in name.replace("_", "") and name.isupper() and name not in known:
            [nearest] = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            yield (
                f"{name} is no setting, and changes nothing; the nearest is {nearest}.",
                "Rename it, or take it out. docs/reference/settings.md has all names.",
            )
