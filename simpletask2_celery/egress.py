"""The Celery app that makes proxy requests on a machine without Django and without a database.

    celery -A simpletask2_celery.egress worker -Q simpletask2.egress

It takes requests from its queue and sends their answers to the queue of each row. It imports
neither Django nor the project, and needs a broker user for these queues alone. Its settings are
variables of the environment: ``SIMPLETASK2_BROKER_URL`` is required, docs/operate/egress.md has
them all. What it may reach is what the project's settings allow, and what its own allow, too.
"""

import ctypes
import json
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from math import inf
from typing import Any, NoReturn

from celery import Celery
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.signals import worker_init
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from .running.proxy import fetching, masking
from .running.proxy.policy import Policy, Refused
from .running.proxy.sending import FETCH, GO_ON, Sender

logger = logging.getLogger(__name__)

QUEUE = "simpletask2.egress"
THREADS = 200
PATIENCE = 60.0  # seconds that an answer waits for a broker that is away
REST = 2.0  # seconds at most between two tries
LARGE = 64 * 1024  # bytes of an answer that a broker may refuse for its size

_M_MMAP_THRESHOLD = -3  # see mallopt(3)
_PREFIX = "SIMPLETASK2_"
_SETTING = f"{_PREFIX}PROXY"
#: Queues of Redis that expire are noted under a key that all apps share.
_FOR_EVER = {"control_queue_expires": None, "event_queue_expires": None}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0", "")


def settings() -> dict[str, Any]:
    """Return Celery's settings. Ends the process with a line for what is missing or wrong."""
    url = os.environ.get(f"{_PREFIX}BROKER_URL", "")
    if not url:
        _end("BROKER_URL", "is not set: it names the broker, as in amqp://user:password@host//")
    try:
        driver = Connection(url).transport.driver_type
    except Exception:  # whose text may hold the password
        _end("BROKER_URL", "is no URL of a broker that is installed here")
    own_policy()
    queue = os.environ.get(f"{_PREFIX}EGRESS_QUEUE") or QUEUE
    options = _transport_options()
    if driver == "redis":
        # Keys of its own, so that it needs no right to those of the project's workers.
        keys = ("unacked_key", "unacked_index_key", "unacked_mutex_key")
        own = {key: f"{queue}.{key}" for key in keys}
        alive = {"socket_timeout": 10, "socket_keepalive": True, "health_check_interval": 25}
        options = {**alive, **own, **options}
    return {
        "broker_url": url,
        "broker_transport_options": options,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_default_queue": queue,
        # Remote control and events have names of their own, for the same reason.
        "control_exchange": queue,
        **(_FOR_EVER if driver == "redis" else {}),
        "event_exchange": f"{queue}.events",
        "event_queue_prefix": f"{queue}.events",
        "task_serializer": "json",
        "accept_content": ["json"],
        "worker_pool": "threads",
        "worker_concurrency": THREADS,
        "worker_prefetch_multiplier": 1,
        "task_acks_late": True,
    }


@cache
def own_policy() -> Policy:
    """Return what this machine allows. Ends the process with a line for what is wrong."""
    schemes, hosts = _list("PROXY_ALLOWED_SCHEMES"), _list("PROXY_ALLOWED_HOSTS")
    if wrong := [scheme for scheme in schemes if scheme not in ("http", "https")]:
        _end("PROXY_ALLOWED_SCHEMES", f'takes "http" and "https", not {wrong[0]!r}')
    size = _number("PROXY_MAX_SIZE", sys.maxsize, "bytes")
    return Policy(
        schemes,
        hosts,
        _flag("PROXY_REFUSE_PRIVATE"),
        _number("PROXY_TIMEOUT", inf, "seconds"),
        int(size),
        _SETTING,
    )


#: Not the current app: a project that imports this keeps its own. No fixup imports Django.
app = Celery("simpletask2_celery.egress", set_as_current=False, fixups=())
app.add_defaults(settings)
_sender = Sender(app)


@worker_init.connect
def _give_memory_back(sender: Any, **kwargs: object) -> None:
    """Have glibc give each large block back at once: its threads' heaps would keep ten times it."""
    if sender.app is app:
        with suppress(OSError, AttributeError, TypeError):  # of another C library
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1024 * 1024)


@app.task(name=FETCH, shared=False, acks_late=True, ignore_result=True)
def fetch(
    task_info: Any = None, request: Any = None, policy: Any = None, reply: Any = None, **later: Any
) -> str:
    """Make the request of a row's step, and send its answer to the row's queue.

    ``policy`` is what the project's settings allow, ``reply`` where the answer goes and what goes
    with it. Where the broker is away for a minute, the message comes again; nothing else raises.
    ``later`` is what messages of later versions may carry.
    """
    if not (isinstance(task_info, str) and _is_reply(reply)):
        logger.error("%s: message refused: it does not say where the answer goes.", FETCH)
        return "refused"
    began = time.perf_counter()
    answer = _answer(task_info, request, policy)
    _deliver(task_info, request, reply, answer, time.perf_counter() - began)
    return f"{task_info}: {answer['proxied_status'] or 'no answer'}"


def _answer(task_info: str, request: Any, policy: Any) -> dict[str, Any]:
    try:
        allowed = Policy.of_json(policy).tightened(own_policy())
        return fetching.fetch(task_info, request, allowed)
    except Refused as error:
        return fetching.failure(task_info, request, str(error))
    except SoftTimeLimitExceeded as error:  # of the row's own, which a pool of processes has
        return fetching.failure(task_info, request, masking.reason(error))


def _deliver(
    task_info: str, request: Any, reply: dict[str, Any], answer: dict[str, Any], seconds: float
) -> None:
    """Send the answer; an error in its place if the broker refuses it for its size."""
    end, failures, rest = time.monotonic() + PATIENCE, 0, REST / 16
    while True:
        try:
            if _size(answer) <= LARGE:
                return _send(task_info, reply, answer, seconds)
            with _one_large:
                if not _limit.is_over(_size(answer)):
                    return _send(task_info, reply, answer, seconds)
            answer = _too_large(task_info, request, answer)
            continue
        except Exception as error:  # of the broker's client
            failures += 1
            is_refused = _sender.is_refusal(error)
            # Redis cuts the connection of a message that is too large.
            is_cut = failures > 1 and _sender.answers()
            if _size(answer) > LARGE and (is_refused or is_cut):
                _limit.remember(_size(answer))
                answer, failures = _too_large(task_info, request, answer), 0
                continue
            kind = type(error.__cause__ or error).__name__
            if time.monotonic() > end:
                logger.error("%s: its answer was not sent: %s", task_info, kind)
                if is_refused:  # it would be, again and again: the row's lease decides
                    return None
                raise Reject(kind, requeue=True) from error
        time.sleep(rest)
        rest = min(rest * 2, REST)


def _too_large(task_info: str, request: Any, answer: dict[str, Any]) -> dict[str, Any]:
    reason = f"the broker refuses an answer of {_size(answer)} bytes"
    return fetching.failure(task_info, request, reason)


class _Limit:
    """The size from which the broker has refused answers lately: to try each one costs much."""

    def __init__(self) -> None:
        self._size, self._until = 0, 0.0

    def is_over(self, size: int) -> bool:
        return size >= self._size and time.monotonic() < self._until

    def remember(self, size: int) -> None:
        smaller = min(size, self._size) if time.monotonic() < self._until else size
        self._size, self._until = smaller, time.monotonic() + PATIENCE


_limit = _Limit()
_one_large = threading.Lock()  # each encoding of an answer is a copy of it


def _forget_parent() -> None:
    global _one_large
    _one_large = threading.Lock()


os.register_at_fork(after_in_child=_forget_parent)


def _send(task_info: str, reply: dict[str, Any], answer: dict[str, Any], seconds: float) -> None:
    named = reply["kwargs"]
    kwargs = {**named, "answer": answer, "request_seconds": seconds}
    options = dict(reply.get("options") or {})
    if _driver() == "redis":
        # Straight to the queue's list: the table of an exchange is not ours to read.
        options["queue"] = Queue(reply["queue"], Exchange(reply["queue"]))
    else:
        options |= {"exchange": reply["exchange"], "routing_key": reply["routing_key"]}
    shown = repr({**named, "answer": "***", "request_seconds": round(seconds, 3)})
    _sender.send(GO_ON, kwargs, shown, _size(answer) > LARGE, declare=[], **options)


@cache
def _driver() -> str:
    return str(app.connection_for_write().transport.driver_type)


def _size(answer: dict[str, Any]) -> int:
    return len(answer["proxied_content"] or "") + len(str(answer["proxied_headers"]))


def _is_reply(reply: Any) -> bool:
    """Tell whether a message says where its answer goes, in the types that this needs."""
    if not isinstance(reply, dict) or not isinstance(reply.get("kwargs"), dict):
        return False
    names = ("queue", "exchange", "routing_key")
    options = reply.get("options") or {}
    are_known = isinstance(options, dict) and set(options) <= {
        *("shadow", "priority", "soft_time_limit", "time_limit")
    }
    return are_known and all(isinstance(reply.get(name), str) for name in names)


# -- the environment --------------------------------------------------------------------------


def _list(name: str) -> tuple[str, ...]:
    text = os.environ.get(_PREFIX + name, "")
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _flag(name: str) -> bool:
    text = os.environ.get(_PREFIX + name, "").strip().lower()
    if text not in (*_TRUE, *_FALSE):
        _end(name, f"takes true or false, not {text!r}")
    return text in _TRUE


def _number(name: str, default: float, unit: str) -> float:
    text = os.environ.get(_PREFIX + name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < inf:
        _end(name, f"takes a number of {unit} above 0, not {text!r}")
    return value


def _transport_options() -> dict[str, Any]:
    name = "BROKER_TRANSPORT_OPTIONS"
    try:
        options = json.loads(os.environ.get(_PREFIX + name) or "{}")
    except ValueError:
        options = None
    if not isinstance(options, dict):
        _end(name, 'takes an object of JSON, as in {"global_keyprefix": "proj:"}')
    return options


def _end(name: str, problem: str) -> NoReturn:
    raise SystemExit(f"simpletask2_celery.egress: {_PREFIX}{name} {problem}.")
