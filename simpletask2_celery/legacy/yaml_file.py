"""The YAML file of django-simpletask2-server: its keys, and their values, checked.

Section 9 of the compatibility page. The file is composed into nodes, and only checked scalars
become values: no tag runs code, and no alias is expanded. Nothing here imports Django, which an
egress machine does not have.
"""

import difflib
import logging
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import yaml
from kombu.connection import Connection

logger = logging.getLogger(__name__)
_warn_once = cache(logger.warning)

MAX_SIZE = 1024 * 1024  # bytes
_TAG = "tag:yaml.org,2002:"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")

#: What a key can take, in the words of an error, and the types of that.
TYPES: dict[str, tuple[type, ...]] = {
    "a text": (str,),
    "a text or a number": (str, int),
    "a whole number": (int,),
    "a whole number above 0": (int,),
    "a number": (int, float),
    "a number above 0": (int, float),
    "true or false": (bool,),
}
#: Keys of the old server, and of the daemon library beneath it, that mean nothing here.
UNUSED = {
    "server": "a text",
    "aclkey": "a text",
    "channel-name-template": "a text",
    "channel-name-strip-regex": "a text",
    "channel-flags-template": "a text",
    "task-pull-engine": "a text",
    "task-pull-timeout": "a whole number",
    "idle-sleep": "a number",
    "error-sleep": "a number",
    "request_timeout": "a number",
    "request-timeout": "a number",
    "stop-signal": "a text or a number",
    "logfmt": "a text",
}
#: Every key of the file, and what it takes.
KEYS = {
    "redis": "a text",
    "channels": "a text",
    "threads": "a whole number above 0",
    "do-auto-reset-task": "true or false",
    "auto-reset-task-interval": "a number above 0",
    "daemon": "true or false",
    "workspace": "a text",
    "pidfile": "a text",
    "logfile": "a text",
    "loglevel": "a text",
    "stop-timeout": "a number above 0",
    **UNUSED,
}


class ConfigFileError(ValueError):
    """The file cannot be used; the text names file, line, key and what would be right."""


def read(path: str | Path) -> dict[str, Any]:
    """Return the file's keys and values, checked. Raises ConfigFileError."""
    root = _compose(str(path))
    if not isinstance(root, yaml.MappingNode | None):
        raise ConfigFileError(f"{path} must hold keys and values, as in 'channels: default'.")
    values: dict[str, Any] = {}
    for key, node in root.value if root else ():
        where = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise ConfigFileError(f"{where}: a key must be a name.")
        name = str(key.value)
        if name not in KEYS:
            near = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.0)[0]
            raise ConfigFileError(f"{where}: unknown key {name[:40]!r}; the nearest is {near}.")
        if name in values:
            raise ConfigFileError(f"{where}: {name} is in the file twice.")
        values[name] = _value(name, node, where)
    return {name: value for name, value in values.items() if value is not None}


def log_unused(values: dict[str, Any], source: str) -> None:
    """Log, once, the keys of ``source`` that mean nothing under Celery."""
    if names := ", ".join(name for name in values if name in UNUSED):
        _warn_once("%s: without a meaning under Celery: %s", source, names)


def broker_url(url: str) -> str:
    """Return a Redis client's URL as a Celery broker's: database, login and options of TLS.

    Raises ValueError for what is no URL of Redis. Its text holds no URL, and so no password.
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
        login = ":".join(quote(options.get(n, ""), safe="") for n in ("username", "password"))
        at = "@"
    query = {name: value for name, value in options.items() if name.startswith("ssl_")}
    database = options.get("db") or parts.path.strip("/") or "0"
    scheme, path = parts.scheme, f"/{database}"
    if scheme == "unix":
        query["virtual_host"] = options.get("db", "0")
        scheme, path = "redis+socket", parts.path
    elif not database.isdecimal():
        raise ValueError("must name its database by a number, as in redis://host:6379/0")
    broker = f"{scheme}://{login}{at}{host}{path}" + (f"?{urlencode(query)}" if query else "")
    try:
        Connection(broker)
    except Exception:
        raise ValueError("has options that Celery cannot use") from None
    return broker


def check(name: str, value: Any) -> str | None:
    """Say what is wrong with a value of the right type; None if nothing is."""
    if KEYS[name].endswith("above 0") and not 0 < value < float("inf"):
        return f"{name} must be {KEYS[name]}"
    if name == "loglevel" and value.upper() not in _LEVELS:
        return f"loglevel must be one of {', '.join(_LEVELS)}"
    if name == "channels" and not channels(value):
        return 'channels must name a channel, as in "default,mail"'
    if name == "redis":
        try:
            broker_url(value)
        except ValueError as error:
            return f"redis {error}"
    return None


def _compose(path: str) -> yaml.Node | None:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise ConfigFileError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > MAX_SIZE:
        raise ConfigFileError(f"{path} is larger than {MAX_SIZE} bytes.")
    try:
        return yaml.compose(content, yaml.SafeLoader)
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


def _value(name: str, node: yaml.Node, where: str) -> Any:
    if node.tag == _TAG + "null":  # "key:" with nothing behind it: not set
        return None
    if not node.tag.startswith(_TAG) or "/" in node.tag:
        raise ConfigFileError(f"{where}: {name} has a tag of YAML's; none is allowed.")
    tags = [_TAG + kind.__name__ for kind in TYPES[KEYS[name]]]
    try:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in tags:
            raise ValueError("of another type")
        value = yaml.SafeLoader("").construct_object(node)
    except (ValueError, KeyError, yaml.YAMLError):  # "!!int x", 5,000 digits
        raise ConfigFileError(f"{where}: {name} must be {KEYS[name]}.") from None
    if problem := check(name, value):
        raise ConfigFileError(f"{where}: {problem}.")
    return value


def channels(text: str) -> list[str]:
    """Return the names in a value of "channels"."""
    return [name.strip() for name in text.split(",") if name.strip()]
