"""Rows by the thousand: which are whose, and how to read them a page at a time."""

import logging
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

from django.apps import apps
from django.db import Error, models
from django.db.models import Exists, OuterRef

from .. import exceptions
from . import retrying, task_info
from .states import STATE_FIELDS

logger = logging.getLogger(__name__)

PAGE = 1000  # rows of one UPDATE of a reset; no lock is held longer than that
#: Fields whose values are short. Others are loaded when they are used.
_SMALL = (
    *(models.BooleanField, models.DateField, models.DecimalField, models.DurationField),
    *(models.FloatField, models.ForeignKey, models.GenericIPAddressField, models.IntegerField),
    *(models.TimeField, models.UUIDField),
)


def owned(model: type[models.Model], using: str) -> models.QuerySet[Any]:
    """Return all rows of the table that has the state columns: with inheritance, a parent's.

    Django updates a parent's columns in two queries, first the keys and then the rows: too late for
    a WHERE.
    """
    owner = model._meta.get_field("status").model
    return owner._base_manager.using(using)


def own_rows(model: type[models.Model], using: str) -> models.QuerySet[Any]:
    """Return the model's rows, without those of its child models, which have own handlers."""
    rows = model._base_manager.using(using).all()
    for child in apps.get_models():
        if issubclass(child, model) and model in child._meta.parents and not child._meta.proxy:
            children = child._base_manager.using(using).filter(pk=OuterRef("pk"))
            rows = rows.filter(~Exists(children))
    return rows


def load(model: type[models.Model], using: str, pk: Any) -> Any:
    """Return the row, or None."""
    return model._base_manager.using(using).filter(pk=pk).first()


def channel_column(model: type[models.Model]) -> "models.Field[Any, Any] | None":
    """Return the column that holds the channel, if it is a column, and no relation."""
    name = getattr(model, "channel_field", None)
    columns = (one for one in model._meta.concrete_fields if not one.is_relation)
    return next((one for one in columns if one.name == name), None)


def target_field(field: Any) -> Any:
    """Return the field whose values a field holds: of a foreign key, the key it leads to."""
    while isinstance(field, models.ForeignKey):
        field = field.target_field
    return field


def light(rows: models.QuerySet[Any]) -> models.QuerySet[Any]:
    """Return the same rows without their payload, which is loaded when it is used.

    A thousand rows take as much memory whatever they carry, and a value that cannot be loaded keeps
    no other row from being found.
    """
    model: Any = rows.model
    return rows.defer(*_heavy_fields(model))


def pages(rows: models.QuerySet[Any], size: int | None = None) -> Iterator[list[Any]]:
    """Yield rows a page at a time by key; one that cannot be loaded is logged, and left out."""
    size = size or page_size(rows.model)
    rows = light(rows.order_by("pk"))
    rest = rows
    while loaded := retrying.persist(rows.db, partial(_load_page, rest, size)):
        page, last = loaded
        yield page
        rest = rows.filter(pk__gt=last)


def page_size(model: type[models.Model]) -> int:
    """Return how many rows one statement may name: SQLite takes few composite keys."""
    return PAGE if len(model._meta.pk_fields) == 1 else PAGE // 4


def log_left_out(model: type[models.Model], key: Any, error: Exception) -> None:
    """Log that a row is left out of what is done with many."""
    name, text = task_info.text(model, key), exceptions.in_words(error)
    logger.error("%s is left out: %s", name, text, extra={"task_info": name})


def _load_page(rows: models.QuerySet[Any], size: int) -> tuple[list[Any], Any] | None:
    """Return a page of rows and the key of its last; None where there are none."""
    try:
        page = list(rows[:size])
        return (page, page[-1].pk) if page else None
    except Error:
        raise
    except Exception:  # of one row: each is loaded by itself
        keys = list(rows.values_list("pk", flat=True)[:size])
    page = []
    for key in keys:
        try:
            page += rows.filter(pk=key)
        except Error:
            raise
        except Exception as error:
            log_left_out(rows.model, key, error)
    return page, keys[-1]


@cache
def _heavy_fields(model: Any) -> list[str]:
    columns = model._meta.concrete_fields
    return [one.name for one in columns if not (one.primary_key or _is_small(one))]


def _is_small(column: Any) -> bool:
    """Tell whether a value of the column is short, and always can be loaded."""
    if column.attname in STATE_FIELDS:
        return True
    if hasattr(column, "from_db_value"):  # which may fail
        return False
    if isinstance(column, models.CharField):
        return (column.max_length or PAGE) < PAGE
    return isinstance(column, _SMALL)
