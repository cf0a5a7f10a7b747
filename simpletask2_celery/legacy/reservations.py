"""Hand out READY rows over HTTP, each to one caller, who then drives its steps.

From the original's Redis lists first, where they are in use, then from the database,
which knows every row. The broker is not asked: the Celery message of a row that was
handed out ends as "nothing to do". A row whose caller never comes back is handed out
again ten seconds later.
"""

import datetime
import logging
import random
import time
from collections.abc import Iterator
from typing import Any

from django.db import models, router
from django.db.models import Q
from django.utils import timezone

from .. import exceptions
from ..conf import conf
from ..publishing import to_lists
from ..rows import claiming, querysets, task_info
from ..rows.model import Row

logger = logging.getLogger(__name__)

POLL = 0.5  # seconds between two looks
PAGE = 50  # rows of one look at a table


def take(channels: list[str], task_models: list[type[Row]]) -> str:
    """Reserve a READY row of the channels and return its "app.model:pk".

    Waits for one as long as ``DJANGO_SIMPLETASK2_TASK_PULL_TIMEOUT`` says. Raises
    DjangoSimpleTask2Error 2910012 where none has come.
    """
    named = task_info.short(",".join(channels))
    channels = [name for name in dict.fromkeys(channels) if _can_be_stored(name)]
    end = time.monotonic() + conf.task_pull_timeout
    while True:
        name = _from_lists(channels) or _from_database(channels, task_models)
        if name is not None:
            return name
        rest = end - time.monotonic()
        if rest <= 0:
            raise exceptions.error(exceptions.NO_TASK, channels=named)
        time.sleep(min(POLL, rest))


def _can_be_stored(name: str) -> bool:
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:  # a lone surrogate, which JSON can carry
        return False


def _from_lists(channels: list[str]) -> str | None:
    for channel in channels:
        if conf.publish_to == "celery" and channel not in conf.legacy_channels:
            continue
        if to_lists.breaker.is_open():
            return None
        try:
            name = _from_list(channel)
        except Exception as error:  # without Redis there is the database still
            to_lists.breaker.open()
            logger.warning("No entry from the Redis lists: %s", type(error).__name__)
            return None
        if name is not None:
            return name
    return None


def _from_list(channel: str) -> str | None:
    place = to_lists.list_of(channel)
    while (entry := to_lists.oldest(channel)) is not None:
        name = entry.decode(errors="surrogateescape")
        try:
            row = task_info.row_of_text(Row, name)
        except Exception as error:  # whatever it is that cannot be a row's name
            to_lists.set_aside(channel, entry, place, error)
            continue
        reserved = claiming.reserve(*row)
        to_lists.drop(channel, [entry], place)  # after that: never in memory alone
        if reserved:
            return name
    return None


def _from_database(channels: list[str], task_models: list[type[Row]]) -> str | None:
    for model in random.sample(task_models, len(task_models)):  # none waits for another
        using = router.db_for_write(model)  # of which alone "app.model:pk" can speak
        for row in _waiting(model, using, channels):
            if claiming.reserve(model, using, row.pk):
                return row.get_task_info()
    return None


def _waiting(model: type[Row], using: str, channels: list[str]) -> Iterator[Row]:
    rows = claiming.unreserved(model, using).filter(_in_channels(model, channels))
    for page in querysets.pages(rows, PAGE):
        for row in page:
            try:
                if row.get_channel_name() in channels and _is_due(row):
                    yield row
            except Exception as error:  # of a method of the row's own
                querysets.log_left_out(model, row.pk, error)


def _in_channels(model: type[Row], channels: list[str]) -> Q:
    """Return what the database can tell of a row's channel; the row has the last word."""
    name = getattr(model, "channel_field", None)
    if name is None and "default" not in channels:
        return Q(pk__in=[])
    columns: dict[str, Any] = {f.name: f for f in model._meta.concrete_fields}
    if not isinstance(columns.get(name or ""), (models.CharField, models.TextField)):
        return Q()
    unset = Q(**{f"{name}__isnull": True}) | Q(**{str(name): ""})
    return Q(**{f"{name}__in": channels}) | (unset if "default" in channels else Q())


def _is_due(row: Row) -> bool:
    """Tell whether a row that was published with countdown or eta may run now."""
    wait = max(row.get_task_wait_timeout(), row.task_wait_timeout)
    over = row.auto_reset_time
    slack = 1  # second, between two machines' clocks
    return over is None or over <= timezone.now() + datetime.timedelta(seconds=wait + slack)
