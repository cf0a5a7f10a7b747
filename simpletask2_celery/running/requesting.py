"""Who makes the proxy request of a step: this process, or an egress worker.

An egress worker is a Celery worker of ``simpletask2_celery.egress``, which may reach what this one
does not. The run hands its request over and ends; the row stays DOING. The answer is a message,
``go_on``, that goes on with the next step in any worker of the row's queue.
"""

import datetime
import logging
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, Protocol

from celery import Celery, current_app
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import KombuError

from .. import exceptions
from ..conf import conf
from ..publishing import messages, to_celery
from ..publishing.messages import DO_TASK
from ..rows import clock, fence, memory, sessions, states
from ..rows.announcing import Ended
from ..rows.model import Row

logger = logging.getLogger(__name__)

#: Seconds after the lease for which a request waits in its queue: clocks may disagree by as much.
CLOCKS = 600.0

#: Told of a request that was handed over: its row, its step, and when.
Went = Callable[[Row, int, datetime.datetime], None]


class Answer(NamedTuple):
    """What an egress worker has sent back: the answer to the request of step ``step``.

    ``token`` is the claim of the run that has handed it over. ``seconds`` of its handler are None
    where no handler of that run had asked.
    """

    step: int
    token: datetime.datetime
    answer: dict[str, Any]
    seconds: float | None
    request_seconds: float

    @property
    def ended(self) -> Ended | None:
        """The end of the step that has asked."""
        if self.seconds is None:
            return None
        error = self.answer["proxied_error"]
        return Ended(self.step, self.seconds, None, None, self.request_seconds, error)


class Requests(Protocol):
    """Who makes the requests of a run."""

    def columns(self, row: Row, step: int, request: Any) -> dict[str, Any]:
        """Return what to write when ``step`` has asked for a request, beside its end."""

    def make(
        self, row: Row, step: int, ended: Ended | None, request: Any
    ) -> tuple[Ended | None, dict[str, Any] | None]:
        """Make the request; return its facts with the step that asked, and the next one's input.

        Instead of an input None, where the run ends here: the answer will go on with it.
        """


class InPlace:
    """Requests that the run makes itself, and waits for."""

    def columns(self, row: Row, step: int, request: Any) -> dict[str, Any]:
        """As of Requests."""
        return {}

    def make(
        self, row: Row, step: int, ended: Ended | None, request: Any
    ) -> tuple[Ended | None, dict[str, Any] | None]:
        """As of Requests."""
        from .proxy import fetching  # requests is slow to import, and few models have requests

        sessions.give_back()
        began = time.perf_counter()
        answer = fetching.fetch(row.get_task_info(), request)
        return _told(ended, answer, time.perf_counter() - began), answer


class ByEgress:
    """Requests that go to the egress worker of a row's model, if it has one."""

    def __init__(self, went: Went) -> None:
        self._here, self._went = InPlace(), went

    def columns(self, row: Row, step: int, request: Any) -> dict[str, Any]:
        """As of Requests: a new lease, for the time in which nobody renews it."""
        if not queue_of(row) or not memory.as_json(request)[0]:
            return {}
        now = clock.now(str(row._state.db))
        return states.hand_over(step, clock.after(now, row.get_do_task_timeout()))

    def make(
        self, row: Row, step: int, ended: Ended | None, request: Any
    ) -> tuple[Ended | None, dict[str, Any] | None]:
        """As of Requests. A broker that is away raises nothing: the lease finds the row."""
        queue = queue_of(row)
        if not queue:
            return self._here.make(row, step, ended, request)
        is_json, request_of_json = memory.as_json(request)
        if not is_json:
            return _refused(row, ended, request, "an egress worker gets what JSON can hold")
        sessions.give_back()
        now = clock.now(str(row._state.db))
        try:
            _send(queue, row, step, ended, request_of_json, now)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:
            sender = _sender(current_app._get_current_object())
            words = exceptions.in_words(error.__cause__ or error)
            if sender.is_refusal(error):
                logger.warning("%s: the broker refuses its request: %s", queue, words)
                return _refused(row, ended, request, "the broker refuses it as a message")
            if not isinstance(error, (KombuError, OSError, *sender.connection_errors())):
                raise
            name = row.get_task_info()
            text = "%s: its request was not sent to %s, and its lease decides: %s"
            logger.warning(text, name, queue, words, extra={"task_info": name})
        else:
            self._went(row, step, now)
        return ended, None


def queue_of(row: Row) -> str | None:
    """Return the queue of the egress worker that makes a row's requests; None for none."""
    own = row.proxy_queue
    return (conf.proxy_queue if own is None else own) or None


def _refused(
    row: Row, ended: Ended | None, request: Any, reason: str
) -> tuple[Ended | None, dict[str, Any]]:
    from .proxy import fetching

    answer = fetching.failure(row.get_task_info(), request, reason)
    return _told(ended, answer, 0.0), answer


def _told(ended: Ended | None, answer: dict[str, Any], seconds: float) -> Ended | None:
    error = answer["proxied_error"]
    return ended and ended._replace(request_seconds=seconds, request_error=error)


def _send(
    queue: str, row: Row, step: int, ended: Ended | None, request: Any, now: datetime.datetime
) -> None:
    from .proxy import masking, policy, sending

    message = messages.of_row(row, row.get_channel_name())
    kind = message.kind
    limits = {}
    if kind.time_limit is not None:
        limits = {"soft_time_limit": kind.soft_time_limit, "time_limit": kind.time_limit}
    own = fence.of(row)
    assert own is not None and own.token is not None
    named = {
        **kind.kwargs(message.row),
        "step": step,
        "token": own.token.isoformat(timespec="microseconds"),
        "seconds": ended and ended.seconds,
        "since": now.isoformat(timespec="microseconds"),
    }
    place, options = _place(kind.channel, kind.kwargs(message.row))
    options |= {"shadow": kind.label, **limits}
    kwargs = {
        "task_info": row.get_task_info(),
        "request": request,
        "policy": policy.current().as_json(),
        "reply": {**place, "kwargs": named, "options": options},
    }
    shown = repr({"task_info": kwargs["task_info"], "request": masking.request(request)})
    _sender(current_app._get_current_object()).send(
        sending.FETCH,
        kwargs,
        shown,
        queue=queue,
        shadow=kind.label,
        expires=row.get_do_task_timeout() + CLOCKS,
        **limits,
    )


def _place(channel: str, kwargs: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return where the row's own messages go, in the words of any client, and their options."""
    options = to_celery.queue_of(channel, kwargs)
    route = current_app.amqp.router.route(options, DO_TASK, kwargs=kwargs)
    queue = route.get("queue")
    exchange = route.get("exchange") or (queue.exchange.name if queue else "")
    key = route.get("routing_key") or (queue.routing_key if queue else "")
    place = {
        "queue": queue.name if queue else str(key),
        "exchange": str(getattr(exchange, "name", exchange)),
        "routing_key": str(key),
    }
    return place, {name: route[name] for name in ("priority",) if route.get(name) is not None}


@cache
def _sender(app: Celery) -> Any:
    from .proxy.sending import Sender

    return Sender(app)
