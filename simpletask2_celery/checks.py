"""System checks: what would make rows wait, run twice or crawl, reported before it does.

A check yields ``(message, hint)`` or ``(message, hint, model)`` for each problem.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from celery import _state, current_app
from django.conf import settings
from django.core import checks
from django.core.cache import InvalidCacheBackendError
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils import timezone

from .conf import all_settings, conf
from .rows import databases
from .rows.model import Row, task_models
from .running import steps

Problems = Iterator[tuple[Any, ...]]
Check = Callable[..., list[checks.CheckMessage]]

#: Each check, and whether it is one of security, which only ``check --deploy`` runs.
_checks: list[tuple[Check, bool]] = []


def register() -> None:
    """Register the checks of this module."""
    for check, deploy in _checks:
        tag = "security" if deploy else "simpletask2_celery"
        checks.register(check, tag, deploy=deploy)


def _check(id: str, deploy: bool = False) -> Callable[[Callable[[], Problems]], Check]:
    """Make a check of a function that yields problems; its id says error or warning."""
    kind = checks.Error if ".E" in id else checks.Warning

    def make(problems: Callable[[], Problems]) -> Check:
        def check(**kwargs: Any) -> list[checks.CheckMessage]:
            try:
                return [
                    kind(message, hint, model[0] if model else None, id)
                    for message, hint, *model in problems()
                ]
            except ImproperlyConfigured:
                if types():  # which says what is wrong
                    return []
                raise

        check.__name__ = problems.__name__
        check.__doc__ = f"{id.partition('.')[2]}: {problems.__doc__}"
        _checks.append((check, deploy))
        return check

    return make


@_check(id="simpletask2_celery.E001")
def handlers() -> Problems:
    """A model whose final_step, or a step before it, has no handler."""
    for model, step in _steps():
        if not steps.has_handler(model, step):
            name = steps.handler_name(step)
            yield (
                f"{model.__name__} has final_step = {model.final_step!r} but no method {name}.",
                f"Add {name}(self, payload=None) (for step 1 do_task_main will do), or lower "
                "final_step.",
                model,
            )


@_check(id="simpletask2_celery.E002")
def types() -> Problems:
    """A setting of the wrong type."""
    for setting in all_settings():
        value = getattr(settings, setting.name, setting.default)
        if problem := setting.problem_with(value):
            yield problem, "docs/reference/settings.md has the types and the defaults."


@_check(id="simpletask2_celery.E003")
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


@_check(id="simpletask2_celery.E004")
def generators() -> Problems:
    """A handler with a ``yield`` in it, of which nothing would run."""
    handlers = [(model, steps.handler_name(step)) for model, step in _steps()]
    handlers += [(model, "do_task_main") for model, step in _steps() if step == 1]
    for model, name in handlers:
        handler = getattr(model, name, None)
        if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
            yield (
                f"{model.__name__}.{name} is a generator: nothing of it would run.",
                "Take the yield out of it, and return what it has to say.",
                model,
            )


@_check(id="simpletask2_celery.E005")
def autocommit() -> Problems:
    """A database of rows that commits nothing by itself."""
    aliases = {alias for model in task_models() for alias in databases.candidates(model)}
    for alias in sorted(aliases):
        if not settings.DATABASES[alias].get("AUTOCOMMIT", True):
            yield (
                f"DATABASES[{alias!r}] has AUTOCOMMIT = False: no claim and no end of a row "
                "would be committed.",
                "Take AUTOCOMMIT out of it, or keep the rows in another database.",
            )


@_check(id="simpletask2_celery.E006")
def schemas() -> Problems:
    """Rows in the schemas of django-tenants, which no message names."""
    for model in task_models():
        aliases = databases.candidates(model) if _is_of_tenants(model) else []
        if any(hasattr(connections[alias], "set_schema") for alias in aliases):
            yield (
                f"{model.__name__} has a table in each tenant's schema: a worker would look "
                "for its rows in the public one.",
                f"Take {model._meta.app_config.name!r} into SHARED_APPS and out of "
                "TENANT_APPS, and keep the tenant in a field of the model.",
                model,
            )


@_check(id="simpletask2_celery.W001")
def celery_app() -> Problems:
    """No Celery app of the project, so rows go to a broker that nobody set."""
    if not _has_app():
        yield (
            "The project has not imported its Celery app: rows would be published to Celery's "
            "default broker.",
            'Put "from .celery import app as celery_app" into the __init__.py of the '
            "project's package.",
        )


@_check(id="simpletask2_celery.W002")
def reuse_of_connections() -> Problems:
    """Celery closes the database connection around every task."""
    if _has_app() and not current_app.conf.get("CELERY_DB_REUSE_MAX"):
        yield (
            "CELERY_DB_REUSE_MAX is not set: Celery opens a database connection for every task.",
            "Set CELERY_DB_REUSE_MAX = 100000 in the Django settings.",
        )


@_check(id="simpletask2_celery.W003")
def visibility_timeout() -> Problems:
    """The broker delivers a message again before the lease is over."""
    transport = current_app.connection_for_write().transport_cls if _has_app() else None
    if transport not in ("redis", "rediss", "sentinel", "sqs"):
        return
    default = 1800 if transport == "sqs" else 3600
    seconds = current_app.conf.broker_transport_options.get("visibility_timeout", default)
    for model, lease in _leases():
        if lease > seconds:
            yield (
                f"{model.__name__} has do_task_timeout = {lease} s, but the broker's "
                f"visibility_timeout is {seconds} s: the messages of rows that run longer are "
                "delivered again, for nothing.",
                f'Set CELERY_BROKER_TRANSPORT_OPTIONS = {{"visibility_timeout": {lease}}} or more.',
                model,
            )


@_check(id="simpletask2_celery.W004", deploy=True)
def aclkey() -> Problems:
    """The key of the HTTP API is the project's SECRET_KEY."""
    key = getattr(settings, "DJANGO_SIMPLETASK2_ACLKEY", settings.SECRET_KEY)
    if key == settings.SECRET_KEY:
        yield (
            "DJANGO_SIMPLETASK2_ACLKEY is the project's SECRET_KEY: whoever drives tasks over "
            "HTTP would know what signs the sessions.",
            "Set DJANGO_SIMPLETASK2_ACLKEY to a long random value of its own.",
        )


@_check(id="simpletask2_celery.W005", deploy=True)
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


@_check(id="simpletask2_celery.W006", deploy=True)
def accepted_content() -> Problems:
    """The Celery app decodes more than JSON, or not even that."""
    if not _has_app():
        return
    accepted = sorted({*map(str, current_app.conf.accept_content)})
    if not accepted or {*accepted} - {"json", "application/json"}:
        yield (
            f"The Celery app accepts {', '.join(accepted) or 'nothing'}: the messages of rows "
            "are JSON, and decoding a pickle runs what is in it.",
            'Set CELERY_ACCEPT_CONTENT = ["json"].',
        )


@_check(id="simpletask2_celery.W007")
def heartbeat() -> Problems:
    """Leases that are over before the heartbeat has renewed them."""
    for model, lease in _leases():
        if conf.heartbeat * 2 > lease:
            yield (
                f"DJANGO_SIMPLETASK2_HEARTBEAT is {conf.heartbeat} s, and {model.__name__} has "
                f"do_task_timeout = {lease} s: one late renewal, and the row runs again while "
                "it runs.",
                "Set DJANGO_SIMPLETASK2_HEARTBEAT to a third of the shortest do_task_timeout "
                "or less.",
                model,
            )


@_check(id="simpletask2_celery.W008")
def apps_of_celery() -> Problems:
    """Two Celery apps with two brokers: which of them publishes depends on the thread."""
    here, elsewhere = _state._tls.current_app, _state.default_app
    if not here or not elsewhere or here is elsewhere:
        return
    if here.conf.broker_write_url != elsewhere.conf.broker_write_url:
        yield (
            f"Rows are published by the Celery app {here.main!r} in this thread and by "
            f"{elsewhere.main!r} in others: their brokers are not the same.",
            f"Make the one that is not for rows with Celery({here.main!r}, set_as_current=False).",
        )


@_check(id="simpletask2_celery.W009")
def zone() -> Problems:
    """Times without a zone, in a zone that changes its clocks."""
    if settings.USE_TZ:
        return
    zone = timezone.get_default_timezone()
    months = (timezone.now().replace(day=1, month=month) for month in range(1, 13))
    if len({month.replace(tzinfo=zone).utcoffset() for month in months}) > 1:
        yield (
            f"USE_TZ is False, and the clocks of {settings.TIME_ZONE} change: in the hour that "
            "comes twice, a lost row is found an hour late.",
            'Set USE_TZ = True, or TIME_ZONE = "UTC".',
        )


def _steps() -> Iterator[tuple[Any, int]]:
    """Yield each step of each model whose final_step is a number."""
    for model in task_models():
        if isinstance(model.final_step, int):
            yield from ((model, step) for step in range(1, model.final_step + 1))


def _leases() -> Iterator[tuple[Any, float]]:
    """Yield each model that has a number as its do_task_timeout, and that number."""
    for model in task_models():
        if isinstance(model.do_task_timeout, (int, float)):
            yield model, model.do_task_timeout


def _has_app() -> bool:
    app = _state._tls.current_app or _state.default_app
    return app is not None and app.main != "default"


def _is_of_tenants(model: type[Row]) -> bool:
    """Tell whether django-tenants keeps the model in each tenant's schema."""
    names = {*getattr(settings, "TENANT_APPS", ())}
    public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    for schema, options in getattr(settings, "TENANT_TYPES", {}).items():
        names.update(options.get("APPS", ()) if schema != public else ())
    config: Any = model._meta.app_config
    path = f"{type(config).__module__}.{type(config).__qualname__}"
    return config.name in names or path in names
