"""The YAML file of django-simpletask2-server, read for Celery.

Compatibility facts, section 9. In a project, beside ``config_from_object``::

    app.conf.update(config_file.load("etc/django-simpletask2-server-config.yml"))

The file is composed and never constructed, so that no tag runs code and no alias
is expanded.
"""

import difflib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import yaml
from celery import current_app
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from ..conf import conf
from ..recovery import schedule

logger = logging.getLogger(__name__)

MAX_SIZE = 1024 * 1024  # bytes
_TAG = "tag:yaml.org,2002:"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")
_named: set[tuple[str, ...]] = set()


class ConfigFileError(ValueError):
    """The file cannot be used; the text names file, line, key and what would be right."""


@dataclass(frozen=True)
class Key:
    """A key of the file: what it takes, and whether it means something under Celery."""

    takes: str
    tags: tuple[str, ...]
    meant: bool = True

    def accepts(self, value: object) -> bool:
        """Tell whether a value of the right type is one that the key can take."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return True
        return 0 < value < float("inf") or not self.meant


_TEXT = ("a text", ("str",))
_WHOLE = ("a whole number above 0", ("int",))
_NUMBER = ("a number above 0", ("int", "float"))
_FLAG = ("true or false", ("bool",))

#: Every key of the old server and of the daemon library beneath it.
KEYS = {
    "redis": Key(*_TEXT),
    "channels": Key(*_TEXT),
    "threads": Key(*_WHOLE),
    "do-auto-reset-task": Key(*_FLAG),
    "auto-reset-task-interval": Key(*_NUMBER),
    "daemon": Key(*_FLAG),
    "workspace": Key(*_TEXT),
    "pidfile": Key(*_TEXT),
    "logfile": Key(*_TEXT),
    "loglevel": Key(*_TEXT),
    "stop-timeout": Key(*_NUMBER),
    "server": Key(*_TEXT, meant=False),
    "aclkey": Key(*_TEXT, meant=False),
    "channel-name-template": Key(*_TEXT, meant=False),
    "channel-name-strip-regex": Key(*_TEXT, meant=False),
    "channel-flags-template": Key(*_TEXT, meant=False),
    "task-pull-engine": Key(*_TEXT, meant=False),
    "task-pull-timeout": Key("a whole number", ("int",), meant=False),
    "idle-sleep": Key("a number", ("int", "float"), meant=False),
    "error-sleep": Key("a number", ("int", "float"), meant=False),
    "request_timeout": Key("a number", ("int", "float"), meant=False),
    "request-timeout": Key("a number", ("int", "float"), meant=False),
    "stop-signal": Key("a text or a number", ("str", "int"), meant=False),
    "logfmt": Key(*_TEXT, meant=False),
}


def load(path: str | Path) -> dict[str, Any]:
    """Return the Celery settings that the file asks for, for ``app.conf.update``.

    Only what the file says: ``broker_url``, ``task_queues``, ``worker_concurrency``
    and ``worker_pool``, ``beat_schedule`` (seconds; the app's own entries stay).
    Keys without a meaning under Celery are named once in the log.

    Raises ConfigFileError for a file that is missing, no YAML or not of this kind.
    """
    values = read(path)
    name_meaningless(values, str(path))
    return celery_settings(values)


def read(path: str | Path) -> dict[str, Any]:
    """Return the file's keys and values, checked. Raises ConfigFileError."""
    values: dict[str, Any] = {}
    for key_node, node in _pairs(str(path)):
        where = f"{path}, line {key_node.start_mark.line + 1}"
        name = _name(key_node, where)
        if name in values:
            raise ConfigFileError(f"{where}: {name} is in the file twice.")
        values[name] = _value(name, node, where)
    return {name: value for name, value in values.items() if value is not None}


def celery_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Return the Celery settings for checked values."""
    settings: dict[str, Any] = {}
    queues = _queues(values.get("channels", ""))
    if "redis" in values:
        settings["broker_url"] = broker_url(values["redis"])
    if queues:
        settings["task_queues"] = [Queue(q, Exchange(q), routing_key=q) for q in queues]
    if "threads" in values:
        settings["worker_concurrency"] = values["threads"]
        settings["worker_pool"] = "threads"
    if not values.get("do-auto-reset-task", True):
        settings[schedule.WANTED] = False
    elif "auto-reset-task-interval" in values:
        queue = queues[0] if queues else None  # one that the workers of the file serve
        entry = schedule.entry(values["auto-reset-task-interval"], queue)
        settings["beat_schedule"] = {
            **current_app.conf.beat_schedule,
            schedule.ENTRY: entry,
        }
    return settings


def name_meaningless(values: dict[str, Any], source: str) -> None:
    """Log, once, the keys of ``source`` that mean nothing under Celery."""
    names = [name for name in values if not KEYS[name].meant]
    if names and (source, *names) not in _named:
        _named.add((source, *names))
        logger.warning("%s: without a meaning under Celery: %s", source, ", ".join(names))


def broker_url(url: str) -> str:
    """Return the URL of a Redis client as one of a Celery broker.

    Of the options only the database, the credentials and those of TLS have a use for
    Celery; the others, as decode_responses, are dropped. Raises ValueError for what is
    no URL of Redis; its text never holds the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  raises ValueError for a port that is none
        options = dict(parse_qsl(parts.query))
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    login, at, host = parts.netloc.rpartition("@")
    if not at and ("username" in options or "password" in options):
        user, password = options.get("username", ""), options.get("password", "")
        login, at = f"{quote(user, safe='')}:{quote(password, safe='')}", "@"
    kept = {name: value for name, value in options.items() if name.startswith("ssl_")}
    database = options.get("db") or parts.path.strip("/") or "0"
    scheme, path = parts.scheme, f"/{database}"
    if scheme == "unix":
        kept["virtual_host"] = options.get("db", "0")
        scheme, path = "redis+socket", parts.path
    elif not database.isdecimal():
        raise ValueError("must name its database by a number, as in redis://host:6379/0")
    made = f"{scheme}://{login}{at}{host}{path}" + (f"?{urlencode(kept)}" if kept else "")
    try:
        Connection(made)
    except Exception:
        raise ValueError("has options that Celery cannot use") from None
    return made


def check(name: str, value: Any) -> str | None:
    """Say what is wrong with a value of the right type; None if nothing is."""
    if not KEYS[name].accepts(value):
        return f"{name} must be {KEYS[name].takes}"
    if name == "loglevel" and value.upper() not in _LEVELS:
        return f"loglevel must be one of {', '.join(_LEVELS)}"
    if name == "channels" and not _channels(value):
        return 'channels must name a channel, as in "default,mail"'
    if name == "redis":
        try:
            broker_url(value)
        except ValueError as error:
            return f"redis {error}"
    return None


def _pairs(path: str) -> list[tuple[yaml.Node, yaml.Node]]:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigFileError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > MAX_SIZE:
        raise ConfigFileError(f"{path} is larger than {MAX_SIZE} bytes.")
    try:
        root = yaml.compose(content, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else path
        # Without the excerpt that PyYAML adds: it may show a password.
        problem = getattr(error, "problem", None) or "not YAML"
        if isinstance(error, yaml.composer.ComposerError):
            problem = "an alias without its anchor, or a second document"
        raise ConfigFileError(f"{where}: {problem}.") from None
    except (RecursionError, ValueError):
        raise ConfigFileError(f"{path}: nested too deep, or not YAML.") from None
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise ConfigFileError(f"{path} must hold keys and values, as in 'channels: default'.")
    pairs: list[tuple[yaml.Node, yaml.Node]] = root.value
    return pairs


def _name(node: yaml.Node, where: str) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigFileError(f"{where}: a key must be a name.")
    name = str(node.value)
    if name not in KEYS:
        near = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.0)[0]
        raise ConfigFileError(f"{where}: unknown key {name[:40]!r}; the nearest is {near}.")
    return name


def _value(name: str, node: yaml.Node, where: str) -> Any:
    if node.tag == _TAG + "null":  # "key:" with nothing behind it: not set
        return None
    if not node.tag.startswith(_TAG) or "/" in node.tag[len(_TAG) :]:
        raise ConfigFileError(f"{where}: {name} has a tag of YAML's; none is allowed.")
    wrong = ConfigFileError(f"{where}: {name} must be {KEYS[name].takes}.")
    right = {_TAG + tag for tag in KEYS[name].tags}
    if not isinstance(node, yaml.ScalarNode) or node.tag not in right:
        raise wrong
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (ValueError, KeyError, yaml.YAMLError):  # "!!int x", 5,000 digits
        raise wrong from None
    if problem := check(name, value):
        raise ConfigFileError(f"{where}: {problem}.")
    return value


def _channels(channels: str) -> list[str]:
    return [name.strip() for name in channels.split(",") if name.strip()]


def _queues(channels: str) -> list[str]:
    return [
        str(current_app.conf.task_default_queue)
        if name == "default"
        else conf.queue_template.format(channel=name)
        for name in _channels(channels)
    ]
