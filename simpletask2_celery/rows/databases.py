"""Which databases rows live in: those a router writes them to, whatever it reads from."""

import logging
from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import Error, connections, models, router
from django.db.models.base import ModelState

logger = logging.getLogger(__name__)
M = TypeVar("M", bound=type[models.Model])


def of(row: models.Model) -> str:
    """Return the alias of the database that ``row.save()`` would write to.

    A row that was read from a replica is not there ("Automatic database routing" of
    Django's documentation).
    """
    alias: str = router.db_for_write(type(row), instance=row)
    return alias


def that_hold(model: type[models.Model]) -> list[str]:
    """Return the aliases of the databases that hold rows of the model.

    One that cannot be asked is left out, with a warning: others' rows are not to wait.
    """
    found = []
    for alias in candidates(model):
        try:
            if holds(model, alias):
                found.append(alias)
        except Error as error:
            logger.warning("Database %s is left out: %s", alias, type(error).__name__)
    return found


def models_of(models: Iterable[M]) -> dict[str, list[M]]:
    """Return which of the models each database may hold rows of; asks none of them."""
    found: dict[str, list[M]] = {alias: [] for alias in connections}
    for model in models:
        for alias in candidates(model):
            found[alias].append(model)
    return {alias: of_database for alias, of_database in found.items() if of_database}


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
    """Tell whether a candidate has the model's table; the one that is written to has.

    Raises as the database does.
    """
    return alias == router.db_for_write(model) or _has_table(alias, model)


def _is_replica(model: type[models.Model], alias: str) -> bool:
    """Tell whether rows that are read there are written elsewhere."""
    row: Any = model.__new__(model)  # as it were: nothing of it is asked for
    row._state = ModelState()
    row._state.db = alias
    try:
        return of(row) != alias
    except Exception:  # a router that looks at the row
        return False


def _has_table(alias: str, model: type[models.Model]) -> bool:
    with connections[alias].cursor() as cursor:
        tables = connections[alias].introspection.get_table_list(cursor)
    return model._meta.db_table.casefold() in {table.name.casefold() for table in tables}
