"""A message on Redis: the text that kombu pushes, made by kombu once and copied.

There a queue is a list, and one command pushes many messages to it. What kombu pushes is
recorded by the protocol of its own batches; where that is anything but one LPUSH of a
message as below, kombu sends each message itself.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from kombu.messaging import Producer
from kombu.utils.uuid import uuid

BATCH = 1000  # messages of one command


class Push:
    """What is pushed of a message: the key of a list, and a text with holes."""

    def __init__(self, key: str, text: str) -> None:
        self.key = key
        self._text = text

    def text(self, body: str, shown: str, task_id: str, family: dict[str, Any]) -> str:
        """Return the text of a message: ``family`` has its root's and parent's ids."""
        parent = family.get("parent_id")
        return self._text % {
            "body": b64encode(body.encode()).decode(),
            "shown": shown if shown.isdecimal() else json.dumps(shown)[1:-1],
            "id": task_id,
            "root": family.get("root_id", task_id),
            "parent": "null" if parent is None else json.dumps(parent),
        }


class Pushes:
    """Collects texts, and pushes them when there are enough and when it is told to."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._texts: dict[str, list[str]] = {}

    def add(self, key: str, text: str) -> None:
        """Add a text for a list."""
        texts = self._texts.setdefault(key, [])
        texts.append(text)
        if len(texts) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Push what has been added; raises as redis does."""
        with self._channel.conn_or_acquire() as client:
            for key, texts in self._texts.items():
                client.lpush(key, *texts)
        self._texts.clear()


def record(channel: Any, body: str, mark: str, publish: Callable[[Producer], Any]) -> Push | None:
    """Return what is pushed of the message that ``publish`` sends by a producer.

    ``body`` is its text, ``mark`` what its "kwargsrepr" shows of the row. None where it
    cannot be copied.
    """
    recorder = _Recorder(channel)
    publish(Producer(recorder, auto_declare=False))
    if [name for name, *_ in recorder.commands] != ["lpush"]:  # an expiring queue has more
        return None
    [(_, key, text)] = recorder.commands
    message = json.loads(text)
    headers, properties = message["headers"], message["properties"]
    if (
        properties["body_encoding"] != "base64"
        or b64decode(message["body"]) != body.encode()
        or properties["delivery_info"]["exchange"]  # whose bindings may change
        or headers["kwargsrepr"].count(mark) != 1
    ):
        return None
    holes = {name: uuid() for name in ("body", "shown", "id", "root", "parent")}
    message["body"] = holes["body"]
    headers["kwargsrepr"] = headers["kwargsrepr"].replace(mark, holes["shown"])
    headers.update(id=holes["id"], root_id=holes["root"], parent_id=holes["parent"])
    # A delivery's tag has to be unique, as the id is.
    properties.update(correlation_id=holes["id"], delivery_tag=holes["id"])
    text = json.dumps(message).replace("%", "%%")
    text = text.replace(f'"{holes["parent"]}"', holes["parent"])  # it may be null
    for name, hole in holes.items():
        text = text.replace(hole, f"%({name})s")
    return Push(key, text)


class _Recorder:
    """A channel, and a batch of kombu's, that keep the commands."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.commands: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def basic_publish(self, message: Any, **options: Any) -> None:
        self._channel.basic_publish(message, _publish_batch=self, **options)

    def add(self, *command: Any) -> None:
        self.commands.append(command)
