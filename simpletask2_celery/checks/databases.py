"""Databases and clocks: what they do to claims and leases."""

from typing import Any

from django.conf import settings
from django.db import connections
from django.utils import timezone

from ..rows import databases
from ..rows.model import Row, task_models
from .registry import Problems, check


@check(id="simpletask2_celery.E005")
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


@check(id="simpletask2_celery.E006")
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


@check(id="simpletask2_celery.W009")
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


def _is_of_tenants(model: type[Row]) -> bool:
    """Tell whether django-tenants keeps the model in each tenant's schema."""
    names = {*getattr(settings, "TENANT_APPS", ())}
    public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    for schema, options in getattr(settings, "TENANT_TYPES", {}).items():
        names.update(options.get("APPS", ()) if schema != public else ())
    config: Any = model._meta.app_config
    path = f"{type(config).__module__}.{type(config).__qualname__}"
    return config.name in names or path in names
