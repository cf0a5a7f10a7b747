"""Celery's message of a row: made by Celery once a kind, and copied for its rows.

What Celery makes of a task's options, routes and serializer is the same for all rows of a
model and a channel. What differs is the row and the message's own id. Where somebody listens
when messages are sent, or a function routes them, Celery makes each message.
"""

import json
import os
from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from celery import Celery, Task, current_app, signals
from celery.app import base, task
from celery.app.routes import MapRoute
from celery.utils.saferepr import saferepr
from kombu import messaging, serialization
from kombu.messaging import Producer
from kombu.utils.uuid import uuid

from . import pushes
from .pushes import Pushes

_ROW = "<row>"  # stands for the row in a template
_LONGEST_REPR = 1000  # characters, as Celery has it
_MOST = 1000  # templates that are kept

#: Sends the message of a row of a kind by a producer; the last argument is the options.
Make = Callable[[Any, Any, Any, dict[str, Any]], None]


def copier(producer: Producer, name: str, options: dict[str, Any], make: Make) -> "Copier | None":
    """Return what sends copies of the messages of the task ``name`` that ``make`` makes.

    None where a copied message could be told from one that Celery makes: by a publish
    signal, a tracer, per-message routing or stamps.
    """
    parent = current_app.current_worker_task
    if (
        options
        or signals.before_task_publish.receivers
        or signals.after_task_publish.receivers
        or not _is_original(Task.apply_async, task)
        or not _is_original(Celery.send_task, base)
        or (parent and parent.request.stamps)
        or not _is_app_plain(name)
    ):
        return None
    return Copier(producer, parent, make)


class Copier:
    """Sends messages by a producer. Those of a Redis list are sent by :meth:`flush`."""

    def __init__(self, producer: Producer, parent: Any, make: Make) -> None:
        self._producer = producer
        self._make = make
        self._family = {}
        if parent is not None:  # as Celery does: a task that a task has sent
            request = parent.request
            root = request.root_id or request.id
            self._family = {"root_id": root, "parent_id": request.id}
        self._templates: dict[Any, _Template | None] = {}
        is_list = _is_list(producer.channel)
        self._pushes = Pushes(producer.channel) if is_list else None

    def send(self, kind: Any, row: Any) -> bool:
        """Send the message of a row, or of a list of rows; False if Celery has to make it."""
        key = kind, isinstance(row, list)
        if key not in self._templates:
            template = _template(self._producer, *key, self._make)
            self._templates[key] = template
            if template is not None:
                template.declare(self._producer)
        if (template := self._templates[key]) is None:
            return False
        template.send(self._producer, row, self._family, self._pushes)
        return True

    def flush(self) -> None:
        """Send what has not been sent yet. Raises as the broker's client does."""
        if self._pushes is not None:
            self._pushes.flush()


def _is_list(channel: Any) -> bool:
    """Tell whether messages are pushed to lists, and no tracer looks at each of them."""
    is_redis = hasattr(channel, "create_publish_batch")
    return is_redis and _is_original(Producer.publish, messaging)


def _is_original(function: Any, module: Any) -> bool:
    """Tell whether no tracer has wrapped or replaced a function of Celery's or kombu's."""
    return (
        type(function) is FunctionType
        and not hasattr(function, "__wrapped__")
        and function.__code__.co_filename == module.__file__
    )


#: Of each app's router, which a new configuration replaces: the next function's answer.
_plain: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def _is_app_plain(name: str) -> bool:
    """Tell whether the app's settings treat all messages of a kind alike."""
    app = current_app._get_current_object()
    if app.amqp.router not in _plain:
        own = app.tasks.get(name)
        _plain[app.amqp.router] = (
            own is not None
            and type(own).apply_async is Task.apply_async  # not of an own base class
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

    def __init__(
        self, producer: Producer, kind: Any, many: bool, is_list: bool, make: Make
    ) -> None:
        mark = [_ROW] if many else _ROW
        recorder = _Recorder(producer)
        make(recorder, kind, mark, {})
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
        self._repr = self._headers["kwargsrepr"].split(repr(mark))
        self._push = None
        if self._once and is_list:
            self.declare(producer)  # which tells kombu whether it expires
            body = json.dumps(mark).join((self._before, self._after))
            self._push = pushes.record(
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

    def send(self, producer: Producer, row: Any, family: dict[str, Any], to: Pushes | None) -> None:
        """Send the message of a row, or of a list of rows."""
        is_number = type(row) is int
        body = f"{self._before}{row if is_number else json.dumps(row)}{self._after}"
        shown = str(row) if is_number else saferepr(row, _LONGEST_REPR)
        task_id = uuid()
        if to is None or self._push is None:
            self._publish(producer, body, shown, task_id, family)
        else:
            to.add(self._push.key, self._push.text(body, shown, task_id, family))

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
            "kwargsrepr": shown.join(self._repr),
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


#: Of each app's router, which made them: {(process, kind, many, is_list): template}.
_templates: WeakKeyDictionary[Any, dict[Any, _Template | None]] = WeakKeyDictionary()


def _template(producer: Producer, kind: Any, many: bool, make: Make) -> _Template | None:
    """Return the template of a kind; None where Celery has to make each message."""
    known = _templates.setdefault(current_app.amqp.router, {})
    # A message names its process as its origin; a tracer may come and go.
    key = os.getpid(), kind, many, _is_list(producer.channel)
    if key not in known:
        if len(known) >= _MOST:
            known.clear()
        try:
            known[key] = _Template(producer, *key[1:], make)
        except (KeyError, TypeError, ValueError):
            known[key] = None
    return known[key]
