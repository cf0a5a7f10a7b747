"""Celery's message of a row: made by Celery once a kind, and copied for its rows.

What Celery makes of a task's options, routes and serializer is the same for all rows of a
model and a channel. Only the row and the message's own id differ. Where somebody listens
when messages are sent, or a function routes them, Celery makes each message.

A queue is a list in Redis, and one command can push many messages to it. What kombu pushes for
a message is copied, too, unless it is anything but one LPUSH: then kombu sends each message.
"""

import json
import os
from base64 import b64decode, b64encode
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

_ROW = "<row>"  # stands for the row in a template
_LONGEST_REPR = 1000  # characters, as Celery has it
_MOST = 1000  # templates that are kept
BATCH = 1000  # messages of one push to Redis

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
        or (templates := _templates_of_app(name)) is None
    ):
        return None
    return Copier(producer, parent, templates, make)


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


#: {router of an app: {(process, is_list, kind, many): template}}. A new configuration replaces
#: the router. None stands for an app, or a kind, whose messages Celery has to make.
_templates: WeakKeyDictionary[Any, "_Templates | None"] = WeakKeyDictionary()
_Templates = dict[Any, "_Template | None"]


def _templates_of_app(name: str) -> _Templates | None:
    """Return the app's templates; None if its settings treat messages of a kind differently."""
    app = current_app._get_current_object()
    router = app.amqp.router
    if router not in _templates:
        own = app.tasks.get(name)
        is_plain = (
            own is not None
            and type(own).apply_async is Task.apply_async  # not of an own base class
            and type(app).send_task is Celery.send_task
            and not app.conf.task_send_sent_event
            and not app.conf.task_inherit_parent_priority
            and all(isinstance(route, MapRoute) for route in app.amqp.routes)
        )
        _templates[router] = {} if is_plain else None
    return _templates[router]


class Copier:
    """Sends messages by a producer. Those of a Redis list are sent by :meth:`flush`."""

    def __init__(self, producer: Producer, parent: Any, templates: _Templates, make: Make) -> None:
        self._producer = producer
        self._of_app = templates
        self._make = make
        self._is_list = _is_list(producer.channel)
        self._templates: _Templates = {}  # {(kind, many): template}, declared by this producer
        self._texts: dict[str, list[str]] = {}  # {key of a list: what is to be pushed to it}
        self._root = self._parent = None
        if parent is not None:  # as Celery does: a task that a task has sent
            self._root = parent.request.root_id or parent.request.id
            self._parent = parent.request.id

    def send(self, kind: Any, row: Any) -> bool:
        """Send the message of a row, or of a list of rows; False if Celery has to make it."""
        key = kind, isinstance(row, list)
        if key not in self._templates:
            self._templates[key] = self._template(*key)
        template = self._templates[key]
        if template is None:
            return False
        task_id = uuid()
        root = self._root or task_id
        is_number = type(row) is int
        body = template.body(str(row) if is_number else json.dumps(row))
        row_repr = str(row) if is_number else saferepr(row, _LONGEST_REPR)
        if template.list_key is None:
            template.publish(self._producer, body, row_repr, task_id, root, self._parent)
            return True
        texts = self._texts.setdefault(template.list_key, [])
        texts.append(template.pushed(body, row_repr, task_id, root, self._parent))
        if len(texts) >= BATCH:
            self.flush()
        return True

    def flush(self) -> None:
        """Send what has not been sent yet. Raises as the broker's client does."""
        if self._texts:
            with self._producer.channel.conn_or_acquire() as client:
                for key, texts in self._texts.items():
                    client.lpush(key, *texts)
            self._texts.clear()

    def _template(self, kind: Any, many: bool) -> "_Template | None":
        """Return the app's template of a kind, whose queue the broker has."""
        # A message names its process as its origin; a tracer may come and go.
        key = os.getpid(), self._is_list, kind, many
        if key not in self._of_app:
            if len(self._of_app) >= _MOST:
                self._of_app.clear()
            self._of_app[key] = self._new_template(kind, [_ROW] if many else _ROW)
        if (template := self._of_app[key]) is not None:
            template.declare(self._producer)
        return template

    def _new_template(self, kind: Any, mark: Any) -> "_Template | None":
        """Have Celery make a message, with ``mark`` for its row or rows."""
        recorder = _Recorder(self._producer)
        try:
            self._make(recorder, kind, mark, {})
            template = _Template(recorder.body, recorder.properties, mark)
            if self._is_list and template.is_declared_once:
                template.declare(self._producer)  # which tells kombu whether the queue expires
                template.record_push(self._producer.channel, mark)
        except (KeyError, TypeError, ValueError):
            return None
        return template


class _Template:
    """A message that Celery has made, in two halves around the row.

    Raises KeyError, TypeError or ValueError for one that cannot be copied: of the first
    protocol, of another serializer than JSON, or one that expires.
    """

    def __init__(self, content: Any, properties: dict[str, Any], mark: Any) -> None:
        self._headers = properties.pop("headers")
        if self._headers["expires"] is not None:
            raise ValueError("a message that expires is not like the next one")
        self._queues = properties.pop("declare") or ()
        # A queue that may be gone, as one that expires, is declared each time.
        self.is_declared_once = all(queue.can_cache_declaration for queue in self._queues)
        properties.pop("correlation_id")
        serializer = properties.pop("serializer")
        content_type, encoding, text = serialization.dumps(content, serializer)
        properties.update(content_type=content_type, content_encoding=encoding)
        self._properties = properties
        self._before, self._after = text.split(json.dumps(mark))
        self._repr = self._headers["kwargsrepr"].split(repr(mark))
        self.list_key: str | None = None  # where kombu sends each message
        self._pushed = ""  # the text for Redis, with a "%(name)s" for what differs

    def body(self, row: str) -> str:
        """Return the message's text for a row, or a list of rows, as JSON."""
        return f"{self._before}{row}{self._after}"

    def pushed(self, body: str, row_repr: str, task_id: str, root: str, parent: str | None) -> str:
        """Return the text that kombu would push to Redis; ids as of :meth:`publish`."""
        return self._pushed % {
            "body": b64encode(body.encode()).decode(),
            "row": row_repr if row_repr.isdecimal() else json.dumps(row_repr)[1:-1],
            "id": task_id,
            "root_id": root,
            "parent_id": "null" if parent is None else json.dumps(parent),
        }

    def record_push(self, channel: Any, mark: Any) -> None:
        """Keep what kombu pushes to Redis for such a message, if it can be copied."""
        body = self.body(json.dumps(mark))
        holes = {name: uuid() for name in ("body", "row", "id", "root_id", "parent_id")}
        ids = [holes[name] for name in ("id", "root_id", "parent_id")]
        recorder = _Recorder(channel)
        self.publish(Producer(recorder, auto_declare=False), body, holes["row"], *ids)
        if [name for name, *_ in recorder.commands] != ["lpush"]:  # an expiring queue has more
            return
        [(_, key, text)] = recorder.commands
        message = json.loads(text)
        properties = message["properties"]
        if (
            properties["body_encoding"] != "base64"
            or b64decode(message["body"]) != body.encode()
            or properties["delivery_info"]["exchange"]  # whose bindings may change
        ):
            return
        message["body"] = holes["body"]
        properties["delivery_tag"] = holes["id"]  # which has to be unique, too
        text = json.dumps(message).replace("%", "%%")
        text = text.replace(f'"{holes["parent_id"]}"', holes["parent_id"])  # it may be null
        for name, hole in holes.items():
            text = text.replace(hole, f"%({name})s")
        self.list_key, self._pushed = key, text

    def declare(self, producer: Producer) -> None:
        """Declare the queue where the broker is not known to have it."""
        declared = producer.connection.declared_entities  # until it connects again
        if self.is_declared_once and self not in declared:
            for queue in self._queues:
                producer.maybe_declare(queue)
            declared.add(self)

    def publish(
        self, producer: Any, body: str, row_repr: str, task_id: str, root: str, parent: str | None
    ) -> None:
        """Send a message by kombu; the ids are its own, its root's and its parent's."""
        ids = {"id": task_id, "root_id": root, "parent_id": parent}
        headers = {**self._headers, **ids, "kwargsrepr": row_repr.join(self._repr)}
        producer.publish(
            body,
            headers=headers,
            correlation_id=task_id,
            declare=None if self.is_declared_once else self._queues,
            **self._properties,
        )


class _Recorder:
    """A producer, a channel or a batch of kombu's that keeps what it is to send."""

    def __init__(self, original: Any) -> None:
        self._original = original
        self.commands: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def publish(self, body: Any, **properties: Any) -> None:
        self.body, self.properties = body, properties

    def basic_publish(self, message: Any, **options: Any) -> None:
        self._original.basic_publish(message, _publish_batch=self, **options)

    def add(self, *command: Any) -> None:
        self.commands.append(command)
