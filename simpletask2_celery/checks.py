"""System checks: what would make rows wait, run twice or crawl, said before it does."""

import inspect
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

Messages = list[checks.CheckMessage]


def register() -> None:
    """Register the checks of this module."""
    for check in (
        handlers,
        generators,
        types,
        redis_cache,
        celery_app,
        reuse_of_connections,
        visibility_timeout,
        heartbeat,
        autocommit,
        schemas,
        apps_of_celery,
        zone,
    ):
        checks.register(check, "simpletask2_celery")
    for check in (aclkey, proxy_policy, accepted_content):
        checks.register(check, "security", deploy=True)


def handlers(**kwargs: Any) -> Messages:
    """E001: a model whose final_step, or a step before it, has no handler."""
    return [
        checks.Error(
            f"{model.__name__} has final_step = {model.final_step!r} "
            f"but no method {steps.handler_name(step)}.",
            hint=f"Add {steps.handler_name(step)}(self, payload=None) (for step 1 "
            "do_task_main will do), or lower final_step.",
            obj=model,
            id="simpletask2_celery.E001",
        )
        for model in task_models()
        if isinstance(model.final_step, int)
        for step in range(1, model.final_step + 1)
        if not steps.has_handler(model, step)
    ]


def generators(**kwargs: Any) -> Messages:
    """E004: a handler with a ``yield`` in it, of which nothing would run."""
    return [
        checks.Error(
            f"{model.__name__}.{name} is a generator: nothing of it would run.",
            hint="Take the yield out of it, and return what it has to say.",
            obj=model,
            id="simpletask2_celery.E004",
        )
        for model in task_models()
        if isinstance(model.final_step, int)
        for name in _handler_names(model)
        if inspect.isgeneratorfunction(getattr(model, name, None))
        or inspect.isasyncgenfunction(getattr(model, name, None))
    ]


def _handler_names(model: type[Row]) -> list[str]:
    steps_of = [steps.handler_name(step) for step in range(1, model.final_step + 1)]
    return ["do_task_main", *steps_of]


def types(**kwargs: Any) -> Messages:
    """E002: a setting of the wrong type."""
    problems = [
        setting.problem_with(getattr(settings, setting.name))
        for setting in all_settings()
        if hasattr(settings, setting.name)
    ]
    return [
        checks.Error(
            problem,
            hint="The README's table of settings has the types and the defaults.",
            id="simpletask2_celery.E002",
        )
        for problem in problems
        if problem
    ]


def redis_cache(**kwargs: Any) -> Messages:
    """E003: the Redis lists are in use, and their cache is no django-redis cache."""
    try:
        if conf.publish_to == "celery" and not conf.legacy_channels:
            return []
        Row.get_redis_conn()
    except (NotImplementedError, InvalidCacheBackendError):
        return [
            checks.Error(
                f"CACHES has no django-redis cache {conf.redis_name!r}, which "
                "DJANGO_SIMPLETASK2_PUBLISH_TO and _LEGACY_CHANNELS need for the "
                "Redis lists.",
                hint='Give it the BACKEND "django_redis.cache.RedisCache", or name '
                "another alias in DJANGO_SIMPLETASK2_REDIS_NAME.",
                id="simpletask2_celery.E003",
            )
        ]
    except ImproperlyConfigured:  # which types() says
        pass
    return []


def celery_app(**kwargs: Any) -> Messages:
    """W001: no Celery app of the project, so rows go to a broker that nobody set."""
    if _has_app():
        return []
    return [
        checks.Warning(
            "The project has not imported its Celery app: rows would be published "
            "to Celery's default broker.",
            hint='Put "from .celery import app as celery_app" into the __init__.py '
            "of the project's package.",
            id="simpletask2_celery.W001",
        )
    ]


def reuse_of_connections(**kwargs: Any) -> Messages:
    """W002: Celery closes the database connection around every task."""
    if not _has_app() or current_app.conf.get("CELERY_DB_REUSE_MAX"):
        return []
    return [
        checks.Warning(
            "CELERY_DB_REUSE_MAX is not set: Celery opens a database connection for every task.",
            hint="Set CELERY_DB_REUSE_MAX = 100000 in the Django settings.",
            id="simpletask2_celery.W002",
        )
    ]


def visibility_timeout(**kwargs: Any) -> Messages:
    """W003: the broker delivers a message again before the lease is over."""
    if not _has_app():
        return []
    connection = current_app.connection_for_write()
    if connection.transport_cls not in ("redis", "rediss", "sentinel", "sqs"):
        return []
    default = 1800 if connection.transport_cls == "sqs" else 3600
    seconds = current_app.conf.broker_transport_options.get("visibility_timeout", default)
    return [
        checks.Warning(
            f"{model.__name__} has do_task_timeout = {model.do_task_timeout} s, but "
            f"the broker's visibility_timeout is {seconds} s: the messages of rows "
            "that run longer are delivered again, for nothing.",
            hint='Set CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": '
            f"{model.do_task_timeout}}} or more.",
            obj=model,
            id="simpletask2_celery.W003",
        )
        for model in task_models()
        if isinstance(model.do_task_timeout, (int, float)) and model.do_task_timeout > seconds
    ]


def heartbeat(**kwargs: Any) -> Messages:
    """W007: leases that are over before the heartbeat has renewed them."""
    try:
        seconds = conf.heartbeat
    except ImproperlyConfigured:  # which types() says
        return []
    return [
        checks.Warning(
            f"DJANGO_SIMPLETASK2_HEARTBEAT is {seconds} s, and {model.__name__} has "
            f"do_task_timeout = {model.do_task_timeout} s: one late renewal, and the "
            "row runs again while it runs.",
            hint="Set DJANGO_SIMPLETASK2_HEARTBEAT to a third of the shortest "
            "do_task_timeout or less.",
            obj=model,
            id="simpletask2_celery.W007",
        )
        for model in task_models()
        if isinstance(model.do_task_timeout, (int, float)) and seconds * 2 > model.do_task_timeout
    ]


def autocommit(**kwargs: Any) -> Messages:
    """E005: a database of rows that commits nothing by itself."""
    aliases = {alias for model in task_models() for alias in databases.candidates(model)}
    return [
        checks.Error(
            f"DATABASES[{alias!r}] has AUTOCOMMIT = False: no claim and no end of a row "
            "would be committed.",
            hint="Take AUTOCOMMIT out of it, or keep the rows in another database.",
            id="simpletask2_celery.E005",
        )
        for alias in sorted(aliases)
        if not settings.DATABASES[alias].get("AUTOCOMMIT", True)
    ]


def schemas(**kwargs: Any) -> Messages:
    """E006: rows in the schemas of django-tenants, which no message names."""
    tenants = [
        model
        for model in task_models()
        if _is_of_tenants(model)
        and any(hasattr(connections[alias], "set_schema") for alias in databases.candidates(model))
    ]
    return [
        checks.Error(
            f"{model.__name__} has a table in each tenant's schema: a worker would look "
            "for its rows in the public one.",
            hint=f"Take {model._meta.app_config.name!r} into SHARED_APPS and out of "
            "TENANT_APPS, and keep the tenant in a field of the model.",
            obj=model,
            id="simpletask2_celery.E006",
        )
        for model in tenants
    ]


def _is_of_tenants(model: type[Row]) -> bool:
    """Tell whether django-tenants keeps the model in each tenant's schema."""
    kinds = getattr(settings, "TENANT_TYPES", {})
    names = {*getattr(settings, "TENANT_APPS", ())}
    names |= {
        name
        for kind, of_kind in kinds.items()
        for name in of_kind.get("APPS", ())
        if kind != getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    }
    config: Any = model._meta.app_config
    paths = {config.name, f"{type(config).__module__}.{type(config).__qualname__}"}
    return bool(paths & names)


def apps_of_celery(**kwargs: Any) -> Messages:
    """W008: two Celery apps with two brokers, of which each thread takes its own."""
    here, elsewhere = _state._tls.current_app, _state.default_app
    if not here or not elsewhere or here is elsewhere:
        return []
    if here.conf.broker_write_url == elsewhere.conf.broker_write_url:
        return []
    return [
        checks.Warning(
            f"Rows are published by the Celery app {here.main!r} in this thread and by "
            f"{elsewhere.main!r} in others: their brokers are not the same.",
            hint=f"Make the one that is not for rows with Celery({here.main!r}, "
            "set_as_current=False).",
            id="simpletask2_celery.W008",
        )
    ]


def zone(**kwargs: Any) -> Messages:
    """W009: times without a zone, in one that changes its clocks."""
    if settings.USE_TZ:
        return []
    months = (timezone.now().replace(day=1, month=month) for month in range(1, 13))
    zone = timezone.get_default_timezone()
    if len({month.replace(tzinfo=zone).utcoffset() for month in months}) == 1:
        return []
    return [
        checks.Warning(
            f"USE_TZ is False, and the clocks of {settings.TIME_ZONE} change: in the hour "
            "that comes twice, a lost row is found an hour late.",
            hint='Set USE_TZ = True, or TIME_ZONE = "UTC".',
            id="simpletask2_celery.W009",
        )
    ]


def aclkey(**kwargs: Any) -> Messages:
    """W004: the key of the HTTP API is the project's SECRET_KEY."""
    key = getattr(settings, "DJANGO_SIMPLETASK2_ACLKEY", settings.SECRET_KEY)
    if key != settings.SECRET_KEY:
        return []
    return [
        checks.Warning(
            "DJANGO_SIMPLETASK2_ACLKEY is the project's SECRET_KEY: whoever drives "
            "tasks over HTTP would know what signs the sessions.",
            hint="Set DJANGO_SIMPLETASK2_ACLKEY to a long random value of its own.",
            id="simpletask2_celery.W004",
        )
    ]


def proxy_policy(**kwargs: Any) -> Messages:
    """W005: a proxy request may reach whatever the worker's machine reaches."""
    try:
        hosts = conf.proxy_allowed_hosts
        if conf.proxy_refuse_private or (hosts and "*" not in hosts):
            return []
    except ImproperlyConfigured:  # which types() says
        return []
    return [
        checks.Warning(
            "Proxy requests may go to any address that the workers reach, the metadata "
            "of a cloud and services without a password included.",
            hint="Set DJANGO_SIMPLETASK2_PROXY_REFUSE_PRIVATE = True, or the hosts that "
            "your tasks need in DJANGO_SIMPLETASK2_PROXY_ALLOWED_HOSTS.",
            id="simpletask2_celery.W005",
        )
    ]


def accepted_content(**kwargs: Any) -> Messages:
    """W006: the Celery app decodes more than JSON, or not even that."""
    if not _has_app():
        return []
    accepted = sorted({*map(str, current_app.conf.accept_content)})
    if accepted and {*accepted} <= {"json", "application/json"}:
        return []
    return [
        checks.Warning(
            f"The Celery app accepts {', '.join(accepted) or 'nothing'}: the messages "
            "of rows are JSON, and decoding a pickle runs what is in it.",
            hint='Set CELERY_ACCEPT_CONTENT = ["json"].',
            id="simpletask2_celery.W006",
        )
    ]


def _has_app() -> bool:
    app = _state._tls.current_app or _state.default_app
    return app is not None and app.main != "default"
