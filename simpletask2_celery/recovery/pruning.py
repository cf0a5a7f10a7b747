"""Delete DONE rows that are old: those of models with ``keep_done``, or those of a command.

A page of rows is deleted in one transaction, which locks the rows first and looks again: a row
that was reset meanwhile stays. A row that others protect stays, too.
"""

import datetime
import logging
import time
from collections.abc import Iterator
from typing import Any

from django.db import IntegrityError, connections, models, transaction
from django.db.models import PROTECT, Exists, F, OuterRef, Q
from django.db.models.deletion import get_candidate_relations_to_delete

from ..rows import clock, databases, querysets, states
from ..rows.model import Row, task_models

logger = logging.getLogger(__name__)

INTERVAL = 3600.0  # seconds between two of beat's
#: Seconds after which the task begins no more pages: the next one goes on, and none overlaps it.
PATIENCE = INTERVAL * 0.9


class PruneFailed(RuntimeError):
    """The rows of some tables could not be deleted; the others' were. Its text names them."""


class Pruning:
    """Deletes the rows of a queryset, a page at a time.

    ``still`` is what is asked again when the rows are locked: a condition on the table that has
    the state columns. ``kept`` is the number of rows left because others protect them.
    """

    def __init__(self, rows: "models.QuerySet[Any]", still: Q) -> None:
        self.rows, self.still = rows, still
        self.kept = 0

    def pages(self) -> Iterator[int]:
        """Yield how many rows were deleted, at least once a page."""
        size = querysets.page_size(self.rows.model)
        keys = self.rows.order_by("pk").values_list("pk", flat=True)
        page = list(keys[:size])
        while page:
            yield from self._delete(page)
            page = list(keys.filter(pk__gt=page[-1])[:size])

    def _delete(self, keys: list[Any]) -> Iterator[int]:
        """Delete rows: all at once, or if others protect some, the rest of them in halves.

        Django does not tell which rows are protected through the rows deleted with them.
        """
        try:
            yield delete(self.rows, self.still, keys)
            return
        except IntegrityError:  # of which Django's ProtectedError is one
            rows = self.rows.filter(_protected(self.rows), pk__in=keys)
        protected = set(rows.values_list("pk", flat=True)) if len(keys) > 1 else {*keys}
        self.kept += len(protected)
        rest = [key for key in keys if key not in protected]
        for half in (rest[: len(rest) // 2], rest[len(rest) // 2 :]):
            if half:
                yield from self._delete(half)


def delete(rows: "models.QuerySet[Any]", still: Q, keys: list[Any]) -> int:
    """Delete those of the rows for which ``still`` is true, all or none; return their number.

    Raises IntegrityError where other rows protect one.
    """
    model, using = rows.model, rows.db
    with transaction.atomic(using):
        own = querysets.owned(model, using).filter(still, pk__in=keys)
        if connections[using].features.has_select_for_update:
            own = own.order_by("pk").select_for_update()
        else:
            own.update(mod_time=F("mod_time"))  # which locks all of SQLite
        locked = list(own.values_list("pk", flat=True))
        model._base_manager.using(using).filter(pk__in=locked).delete()
    return len(locked)


def run() -> dict[str, int]:
    """Delete the rows that no ``keep_done`` keeps any longer; return {"app.model": number}.

    A table that fails is logged, and the others have their turn. PruneFailed is raised at the
    end. No page begins after PATIENCE seconds.
    """
    end = time.monotonic() + PATIENCE
    counts: dict[str, int] = {}
    failures: dict[str, str] = {}
    for model, seconds in keeping():
        name = model._meta.label_lower
        counts[name] = 0
        for using in databases.candidates(model):
            try:
                if databases.holds(model, using):
                    for number in _pages(model, using, seconds):
                        counts[name] += number
                        if time.monotonic() > end:
                            break
            except Exception as error:
                text = "Old rows of %s (%s) were not deleted; the next hour tries again."
                logger.exception(text, name, using)
                failures[name] = type(error).__name__
        if counts[name]:
            logger.info("%s: old rows deleted: %d.", name, counts[name])
    if failures:
        tables = ", ".join(f"{name} ({kind})" for name, kind in failures.items())
        raise PruneFailed(f"Old rows were not deleted: {tables}; the others' were.")
    return counts


def keeping() -> Iterator[tuple[type[Row], float]]:
    """Yield each model that says how long it keeps DONE rows, and the seconds.

    Nothing is deleted for what is no number of seconds, such as a field of that name: a check
    names it.
    """
    for model in task_models():
        seconds = getattr(model, "keep_done", None)
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds >= 0:
            yield model, seconds


def _pages(model: type[Row], using: str, seconds: float) -> Iterator[int]:
    """Delete the model's own old rows in one database; yield the number of each page."""
    limit = clock.now(using) - datetime.timedelta(seconds=seconds)
    still = Q(status=states.DONE, done_time__lt=limit)
    pruning = Pruning(querysets.own_rows(model, using).filter(still), still)
    yield from pruning.pages()
    if pruning.kept:
        text = "%s: old rows left, because other rows protect them: %d."
        logger.info(text, model._meta.label_lower, pruning.kept)


def _protected(rows: "models.QuerySet[Any]") -> Q:
    """Return the condition that another row refers to a row with on_delete=PROTECT."""
    protected = Q(pk__in=[])
    meta: Any = rows.model._meta
    relation: Any
    for relation in get_candidate_relations_to_delete(meta):
        if relation.on_delete is PROTECT:
            others = relation.related_model._base_manager.using(rows.db)
            here = {relation.field.name: OuterRef(relation.field.target_field.name)}
            protected |= Q(Exists(others.filter(**here)))
    return protected
