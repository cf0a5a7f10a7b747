"""The messages of rows: Celery carries a row's name, with its database if not "default"."""

import logging
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.db import router

from .. import exceptions
from ..conf import conf
from ..rows import databases, due, task_info

logger = logging.getLogger(__name__)

DO_TASK = "simpletask2_celery.do_task"


class Kind(NamedTuple):
    """What the messages of many rows have in common."""

    app_label: str
    model: str
    using: str | None  # None for "default"
    channel: str
    soft_time_limit: float | None = None  # seconds, of Celery
    time_limit: float | None = None

    @property
    def label(self) -> str:
        """The model as "app.model"."""
        return f"{self.app_label}.{self.model}"

    def kwargs(self, row: Any) -> dict[str, Any]:
        """Return the kwargs of the task: a list of rows has "ids", a row "id"."""
        name = "ids" if isinstance(row, list) else "id"
        kwargs = {"app_label": self.app_label, "model": self.model, name: row}
        return kwargs if self.using is None else {**kwargs, "using": self.using}


class Message(NamedTuple):
    """What is sent for a row, or for a list of rows."""

    kind: Kind
    row: Any  # the primary key as JSON has it, or a list of keys
    #: "app.model:pk". None for a list, and where it would name a row of another database.
    name: str | None = None

    @property
    def size(self) -> int:
        """The number of rows that it carries."""
        return len(self.row) if isinstance(self.row, list) else 1


def of_rows(
    rows: Iterable[Any], using: str | None, leave_out: bool = False
) -> Iterator[tuple[str, Message, datetime | None]]:
    """Yield database, message and time ahead of each row; what rows share is computed once.

    With ``leave_out``, a row whose own methods raise is logged; otherwise it raises.
    """
    shared: dict[Any, tuple[str, bool, Kind]] = {}
    for row in rows:
        try:
            key = type(row), row._state.db, row.get_channel_name()
            if key not in shared:
                shared[key] = _shared(row, using, key[2])
            home, is_named, kind = shared[key]
            if conf.enforce_timeout:  # both limits end the run while it still holds its row
                lease = row.get_do_task_timeout()
                hard = lease - min(lease / 4, 1)
                soft = hard - min(lease / 10, 4)
                kind = kind._replace(soft_time_limit=soft, time_limit=hard)
            name = row.get_task_info() if is_named else None
            message = Message(kind, task_info.json_id(row), name)
            moment = due.after(row) if row._is_durable else None
        except Exception as error:
            if not leave_out:
                raise
            name, text = task_info.text(type(row), row.pk), exceptions.in_words(error)
            logger.error("%s is not published: %s", name, text, extra={"task_info": name})
        else:
            yield home, message, moment


def of_row(row: Any, channel: str) -> Message:
    """Return the message of a saved row to a channel, which need not be its own."""
    [(_, message, _)] = of_rows([row], row._state.db)
    return message._replace(kind=message.kind._replace(channel=channel))


def kind_of(model: Any, using: str, channel: str) -> Kind:
    """Return the kind of the messages of a model's rows, in a database and a channel."""
    meta = model._meta
    return Kind(meta.app_label, meta.model_name, None if using == "default" else using, channel)


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


def _shared(row: Any, using: str | None, channel: str) -> tuple[str, bool, Kind]:
    """Return the row's database, whether its name is of this database, and its kind."""
    home = using or databases.of(row)
    is_named = conf.publish_to != "celery" and home == router.db_for_write(type(row))
    return home, is_named, kind_of(row, home, channel)
