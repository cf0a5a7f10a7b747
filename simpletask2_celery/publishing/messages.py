"""The messages of rows: what Celery carries is a row's name, and nothing else."""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from django.db import router

from .. import exceptions
from ..conf import conf
from ..rows import databases, task_info

logger = logging.getLogger(__name__)

DO_TASK = "simpletask2_celery.do_task"


class Kind(NamedTuple):
    """What the messages of many rows have in common.

    ``using`` is None for "default"; the limits, in seconds, are Celery's.
    """

    app_label: str
    model: str
    using: str | None
    channel: str
    soft_time_limit: float | None = None
    time_limit: float | None = None

    def kwargs(self, row: Any) -> dict[str, Any]:
        """Return the kwargs of the task: a list of rows has "ids", a row "id"."""
        name = "ids" if isinstance(row, list) else "id"
        kwargs = {"app_label": self.app_label, "model": self.model, name: row}
        return kwargs if self.using is None else {**kwargs, "using": self.using}


class Message(NamedTuple):
    """What is sent of a row: its kind, its primary key as JSON, "app.model:pk".

    The name is None where it would be another row's, for it names no database. In a message
    of many rows ``row`` is a list, and ``name`` is None.
    """

    kind: Kind
    row: Any
    name: str | None = None

    @property
    def size(self) -> int:
        """The number of rows that it carries."""
        return len(self.row) if isinstance(self.row, list) else 1


def of_rows(
    rows: Iterable[Any], using: str | None, leave_out: bool = False
) -> Iterator[tuple[str, Message]]:
    """Yield database and message of each row; what rows share is computed once.

    With ``leave_out``, a row whose own methods raise is logged; otherwise it raises.
    """
    shared: dict[Any, tuple[str, bool, Kind]] = {}
    for row in rows:
        try:
            message = _of_row(row, using, shared)
        except Exception as error:
            if not leave_out:
                raise
            name, text = task_info.text(type(row), row.pk), exceptions.in_words(error)
            about = {"task_info": name}
            logger.error("%s is not published: %s", name, text, extra=about)
        else:
            yield message


def of_row(row: Any, channel: str) -> Message:
    """Return the message of a saved row to a channel, which need not be its own."""
    [(_, message)] = of_rows([row], row._state.db)
    return message._replace(kind=message.kind._replace(channel=channel))


def chunks(messages: list[Message], size: int) -> list[Message]:
    """Return messages that carry up to ``size`` rows of a kind each."""
    if size == 1:
        return messages
    by_kind: dict[Kind, list[Any]] = {}
    for message in messages:
        by_kind.setdefault(message.kind, []).append(message.row)
    return [
        Message(kind, rows[start : start + size])
        for kind, rows in by_kind.items()
        for start in range(0, len(rows), size)
    ]


def time_limits(timeout: float) -> tuple[float, float]:
    """Return Celery's soft and hard limit, in seconds, for a lease of ``timeout``.

    Both come before its end, so that the row is failed while the run still holds it: the
    hard one a second (or a quarter of a short lease), the soft one four seconds (or a tenth)
    earlier.
    """
    hard = timeout - min(timeout / 4, 1)
    return hard - min(timeout / 10, 4), hard


def _of_row(
    row: Any, using: str | None, shared: dict[Any, tuple[str, bool, Kind]]
) -> tuple[str, Message]:
    key = type(row), row._state.db, row.get_channel_name()
    if key not in shared:
        home, meta = using or databases.of(row), row._meta
        kind = Kind(meta.app_label, meta.model_name, None if home == "default" else home, key[2])
        shared[key] = home, home == router.db_for_write(type(row)), kind
    home, is_at_home, kind = shared[key]
    if conf.enforce_timeout:
        soft, hard = time_limits(row.get_do_task_timeout())
        kind = kind._replace(soft_time_limit=soft, time_limit=hard)
    is_named = is_at_home and conf.publish_to != "celery"
    name = row.get_task_info() if is_named else None
    return home, Message(kind, task_info.json_id(row), name)
