"""Celery's message of a row: made by Celery once a kind, and copied for its rows.

What Celery makes of a task's options, routes and serializer is the same for all rows of a
model and a channel: what differs is the row and the message's own id. Where somebody
listens when messages are sent, or a function routes them, Celery makes each itself.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from celery import Celery, Task, current_app, signals
from celery.app import base, task
from celery.app.routes import MapRoute
from celery.utils.saferepr import saferepr
from kombu import messaging, serialization
from kombu.messaging import Producer
from kombu.utils.uuid import uuid

from . import redis_push
from .conf import conf
from .redis_push import BATCH, Pushes

DO_TASK = "simpletask2_celery.do_task"
_ROW = "<row>"  # stands for the row in a template
_LONGEST_REPR = 1000  # characters, as Celery has it
_MOST = 1000  # templates that are kept

Send = Callable[["Kind", Any], None]


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


@contextmanager
def sender(producer: Producer, options: dict[str, Any]) -> Iterator[Send]:
    """Lend what sends the message of a row, or of a list of rows, of a kind.

    All has been sent when the block ends; raises as the broker's client does.
    """
    parent = current_app.current_worker_task
    if options or not _may_be_copied(parent):
        with producer.batch(max_size=BATCH):
            yield lambda kind, row: send_by_celery(producer, kind, row, options)
        return
    family = {}
    if parent is not None:  # as Celery does: a task that a task has sent
        request = parent.request
        family = {"root_id": request.root_id or request.id, "parent_id": request.id}
    templates: dict[Any, _Template | None] = {}
    pushes = Pushes(producer.channel) if _can_push(producer.channel) else None

    def send(kind: Kind, row: Any) -> None:
        key = kind, isinstance(row, list)
        if key not in templates:
            templates[key] = template = _template(producer, *key)
            if template is not None:
                template.declare(producer)
        if (template := templates[key]) is None:
            send_by_celery(producer, kind, row, options)
        else:
            template.send(producer, row, family, pushes)

    with producer.batch(max_size=BATCH):
        yield send
    if pushes is not None:
        pushes.flush()


def queue_of(channel: str, kwargs: dict[str, Any]) -> dict[str, str]:
    """Return the queue of a channel: none for "default" and where a route has one."""
    if channel == "default":
        return {}
    if current_app.amqp.router.lookup_route(DO_TASK, (), kwargs, {}, None):
        return {}
    return {"queue": conf.queue_template.format(channel=channel)}


def send_by_celery(producer: Any, kind: Kind, row: Any, options: dict[str, Any]) -> None:
    """Let Celery make and send a message; the caller tries again where that fails."""
    kwargs = kind.kwargs(row)
    limits = {}
    if kind.time_limit is not None:
        limits = {"soft_time_limit": kind.soft_time_limit, "time_limit": kind.time_limit}
    current_app.signature(DO_TASK, kwargs=kwargs).apply_async(
        producer=producer,
        retry=False,
        **{**queue_of(kind.channel, kwargs), **limits, **options},
    )


def _may_be_copied(parent: Any) -> bool:
    """Tell whether nobody would notice that Celery does not make each message."""
    return (
        not signals.before_task_publish.receivers
        and not signals.after_task_publish.receivers
        and _is_celerys_own(Task.apply_async, task)
        and _is_celerys_own(Celery.send_task, base)
        and not (parent and parent.request.stamps)
        and _is_app_plain()
    )


def _can_push(channel: Any) -> bool:
    """Tell whether messages are pushed to lists, and no tracer looks at each of them."""
    return hasattr(channel, "create_publish_batch") and _is_celerys_own(
        Producer.publish, messaging
    )


def _is_celerys_own(function: Any, module: Any) -> bool:
    """Tell whether no tracer has wrapped or replaced a function of Celery's or kombu's."""
    return (
        type(function) is FunctionType
        and not hasattr(function, "__wrapped__")
        and function.__code__.co_filename == module.__file__
    )


#: Of each app's router: what the next function has found.
_plain: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def _is_app_plain() -> bool:
    """Tell whether the app's settings treat all messages of a kind alike."""
    app = current_app._get_current_object()
    if app.amqp.router not in _plain:
        do_task = app.tasks.get(DO_TASK)
        _plain[app.amqp.router] = (
            do_task is not None
            and type(do_task).apply_async is Task.apply_async  # not of an own base class
            and type(app).send_task is Celery.send_task
            and not app.conf.task_send_sent_event
            and not app.conf.task_inherit_parent_priority
            and all(isinstance(route, MapRoute) for route in app.amqp.routes)
        )
    return _plain[app.amqp.router]


class _Template:
    """A message that Celery has made, in two halves around the row.

    Raises KeyError, TypeError or ValueError for one that cannot be copied: of the first
    protocol, of another serializer than JSON, or one that expires.
    """

    def __init__(self, producer: Producer, kind: Kind, many: bool, is_pushed: bool) -> None:
        mark = [_ROW] if many else _ROW
        recorder = _Recorder(producer)
        send_by_celery(recorder, kind, mark, {})
        self._properties = recorder.properties
        self._headers = self._properties.pop("headers")
        if self._headers["expires"] is not None:
            raise ValueError("a message that expires is not like the next one")
        self._declare = self._properties.pop("declare")
        # A queue that may be gone, as one that expires, is declared each time.
        self._once = all(entity.can_cache_declaration for entity in self._declare or ())
        self._properties.pop("correlation_id")
        serializer = self._properties.pop("serializer")
        content_type, encoding, text = serialization.dumps(recorder.body, serializer)
        self._properties.update(content_type=content_type, content_encoding=encoding)
        self._before, self._after = text.split(json.dumps(mark))
        self._shown = self._headers["kwargsrepr"].split(repr(mark))
        self._push = None
        if self._once and is_pushed:
            self.declare(producer)  # which tells kombu whether it expires
            body = json.dumps(mark).join((self._before, self._after))
            self._push = redis_push.record(
                producer.channel,
                body,
                repr(mark),
                lambda recorder: self._publish(recorder, body, repr(mark), uuid(), {}),
            )

    def declare(self, producer: Producer) -> None:
        """Declare the queue where the broker is not known to have it."""
        declared = producer.connection.declared_entities  # until it connects again
        if self._once and self not in declared:
            for entity in self._declare or ():
                producer.maybe_declare(entity)
            declared.add(self)

    def send(
        self, producer: Producer, row: Any, family: dict[str, Any], pushes: Pushes | None
    ) -> None:
        """Send the message of a row, or of a list of rows."""
        is_number = type(row) is int
        body = f"{self._before}{row if is_number else json.dumps(row)}{self._after}"
        shown = str(row) if is_number else saferepr(row, _LONGEST_REPR)
        task_id = uuid()
        if pushes is None or self._push is None:
            self._publish(producer, body, shown, task_id, family)
        else:
            pushes.add(self._push.key, self._push.text(body, shown, task_id, family))

    def _publish(
        self,
        producer: Producer,
        body: str,
        shown: str,
        task_id: str,
        family: dict[str, Any],
    ) -> None:
        headers = {
            **self._headers,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            **family,
            "kwargsrepr": shown.join(self._shown),
        }
        producer.publish(
            body,
            headers=headers,
            correlation_id=task_id,
            declare=None if self._once else self._declare,
            **self._properties,
        )


class _Recorder:
    """A producer that keeps what it is to publish."""

    def __init__(self, producer: Producer) -> None:
        self.connection = producer.connection

    def publish(self, body: Any, **properties: Any) -> None:
        self.body, self.properties = body, properties


#: Of each app's router, which made them: {(process, kind, many, is_pushed): template}.
_templates: WeakKeyDictionary[Any, dict[Any, _Template | None]] = WeakKeyDictionary()


def _template(producer: Producer, kind: Kind, many: bool) -> _Template | None:
    """Return the template of a kind; None where Celery has to make each message."""
    known = _templates.setdefault(current_app.amqp.router, {})
    # A message names its process as its origin; a tracer may come and go.
    key = os.getpid(), kind, many, _can_push(producer.channel)
    if key not in known:
        if len(known) >= _MOST:
            known.clear()
        try:
            known[key] = _Template(producer, *key[1:])
        except (KeyError, TypeError, ValueError):
            known[key] = None
    return known[key]
