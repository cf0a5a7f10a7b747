"""Hand out READY rows over HTTP, each to one caller, who then drives its steps.

Rows come from the original's Redis lists first, where they are in use, then from the
database, which knows every row. The broker is not asked: the Celery message of a row that
was handed out ends as "nothing to do". A row whose caller never comes back is handed out
again ten seconds later.
"""

import datetime
import logging
import random
import re
import time

from django.db import models, router
from django.db.models import Q
from django.utils import timezone

from .. import exceptions
from ..conf import conf
from ..publishing import to_lists
from ..rows import claiming, lookup, querysets, task_info
from ..rows.model import Row, task_models
from . import lists

logger = logging.getLogger(__name__)

POLL = 0.5  # seconds between two looks
PAGE = 50  # rows of one look at a table
SLACK = 1  # second between two machines' clocks
#: NUL, and the lone surrogates that JSON can carry: no database holds such a name.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def take(channels: list[str]) -> str:
    """Reserve a READY row of the channels and return its "app.model:pk".

    Raises DjangoSimpleTask2Error 2910012 if none comes within the ``TASK_PULL_TIMEOUT``.
    """
    end = time.monotonic() + conf.task_pull_timeout
    names = [name for name in dict.fromkeys(channels) if not _UNSTORABLE.search(name)]
    while True:
        name = _from_lists(names) or _from_database(names)
        if name is not None:
            return name
        rest = end - time.monotonic()
        if rest <= 0:
            text = task_info.short(",".join(channels))
            raise exceptions.error(exceptions.NO_TASK, channels=text)
        time.sleep(min(POLL, rest))


def _from_lists(channels: list[str]) -> str | None:
    if conf.publish_to == "celery":
        channels = [name for name in channels if name in conf.legacy_channels]
    if to_lists.breaker.is_open():
        return None
    try:
        for channel in channels:
            while (entry := lists.oldest(channel)) is not None:
                if name := _from_entry(channel, entry):
                    return name
    except Exception as error:  # without Redis there is the database still
        to_lists.breaker.open()
        logger.warning("No entry from the Redis lists: %s", type(error).__name__)
    return None


def _from_entry(channel: str, entry: bytes) -> str | None:
    place = to_lists.list_of(channel)
    name = entry.decode(errors="surrogateescape")
    try:
        row = lookup.row_of_text(name)
    except Exception as error:  # of whatever kind: the entry names no row
        lists.set_aside(channel, entry, place, error)
        return None
    is_reserved = claiming.reserve(*row)
    lists.drop(channel, [entry], place)  # after that, so that it is never in memory alone
    return name if is_reserved else None


def _from_database(channels: list[str]) -> str | None:
    models_of_tasks = task_models()
    random.shuffle(models_of_tasks)  # no model waits for another
    for model in models_of_tasks:
        using = router.db_for_write(model)  # "app.model:pk" names no row of another database
        rows = claiming.unreserved(model, using).filter(_in_channels(model, channels))
        for page in querysets.pages(rows, PAGE):
            for row in page:
                if _is_due(row, channels) and claiming.reserve(model, using, row.pk):
                    return str(row.get_task_info())
    return None


def _in_channels(model: type[Row], channels: list[str]) -> Q:
    """Return what the database can tell of a row's channel; the row has the last word."""
    name = getattr(model, "channel_field", None)
    if name is None and "default" not in channels:
        return Q(pk__in=[])
    if not isinstance(querysets.channel_column(model), (models.CharField, models.TextField)):
        return Q()
    unset = Q(**{f"{name}__isnull": True}) | Q(**{str(name): ""})
    return Q(**{f"{name}__in": channels}) | (unset if "default" in channels else Q())


def _is_due(row: Row, channels: list[str]) -> bool:
    """Tell whether a row is of the channels, and past its countdown or eta if it has one."""
    try:
        if row.get_channel_name() not in channels:
            return False
        over = row.auto_reset_time
        wait = max(row.get_task_wait_timeout(), row.task_wait_timeout) + SLACK
        return over is None or over <= timezone.now() + datetime.timedelta(seconds=wait)
    except Exception as error:  # of a method of the row's own
        querysets.log_left_out(type(row), row.pk, error)
        return False
