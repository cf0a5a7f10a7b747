"""Which databases rows live in: those a router writes them to, whatever it reads from."""

import logging
from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import Error, connections, models, router
from django.db.models.base import ModelState

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=type[models.Model])


def of(row: models.Model) -> str:
    """Return the alias of the database that ``row.save()`` would write to: no replica."""
    return str(router.db_for_write(type(row), instance=row))


def that_hold(model: type[models.Model]) -> list[str]:
    """Return the aliases that hold rows of the model; warn of those that cannot be asked."""
    aliases = []
    for alias in candidates(model):
        try:
            if holds(model, alias):
                aliases.append(alias)
        except Error as error:
            logger.warning("Database %s is left out: %s", alias, type(error).__name__)
    return aliases


def models_of(models: Iterable[M]) -> dict[str, list[M]]:
    """Return which of the models each database may hold rows of; asks none of them."""
    by_alias: dict[str, list[M]] = {alias: [] for alias in connections}
    for model in models:
        for alias in candidates(model):
            by_alias[alias].append(model)
    return {alias: those for alias, those in by_alias.items() if those}


def candidates(model: type[models.Model]) -> list[str]:
    """Return the aliases of the databases that may hold rows of it; asks none of them."""
    home = router.db_for_write(model)
    return [home] + [
        alias
        for alias in connections
        if alias != home
        and router.allow_migrate_model(alias, model)
        and not connections[alias].settings_dict["TEST"].get("MIRROR")
        and not _is_replica(model, alias)
    ]


def holds(model: type[models.Model], alias: str) -> bool:
    """Tell whether a candidate has the model's table; the one that is written to has."""
    if alias == router.db_for_write(model):
        return True
    with connections[alias].cursor() as cursor:
        tables = connections[alias].introspection.get_table_list(cursor)
    return model._meta.db_table.casefold() in {table.name.casefold() for table in tables}


def _is_replica(model: type[models.Model], alias: str) -> bool:
    """Tell whether rows that are read there are written elsewhere."""
    row: Any = model.__new__(model)  # as it were: nothing of it is asked for
    row._state = ModelState()
    row._state.db = alias
    try:
        return of(row) != alias
    except Exception:  # a router that looks at the row
        return False
