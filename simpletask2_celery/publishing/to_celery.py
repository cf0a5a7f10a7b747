"""Send the messages of rows to Celery's broker, now, without a long wait.

After a failure of the broker nothing is tried for ``BREAK`` seconds. Where the broker refuses
one queue, for its name or its arguments, it still gets the messages of the others.
"""

import logging
import struct
from typing import Any

from celery import current_app
from kombu.exceptions import BatchPublishError, KombuError, OperationalError

from .. import fast
from ..conf import conf
from ..rows import announcing, deadline, task_info
from ..rows.deadline import Breaker
from . import producers
from .messages import DO_TASK, Kind, Message

logger = logging.getLogger(__name__)

BATCH = 1000  # messages that are sent together
BREAK = 5.0  # seconds without publishing after a failure
_MOST_REFUSED = 1000  # channels whose refusal is remembered

breaker = Breaker(BREAK)
#: {channel whose queue was refused: its breaker}
_refused: dict[str, Breaker] = {}


def send(messages: list[Message], options: dict[str, Any]) -> bool:
    """Send messages now; return False if some were not sent, because the broker failed.

    It may have failed now or a moment ago, as a whole or by refusing one channel's queue; then
    the others' messages are sent. Errors that are not the broker's are raised, at the end.
    """
    if current_app.conf.task_always_eager:
        _run_eagerly(messages, options)
        return True
    if breaker.is_open():
        logger.debug("Broker failed lately. Messages left to auto-reset: %d.", len(messages))
        return False
    refused = {channel for channel, one in list(_refused.items()) if one.is_open()}
    allowed = [one for one in messages if one.kind.channel not in refused]
    if not allowed:
        return False
    try:
        _send_batch(allowed, options)
    except Exception as error:
        if not _has_lost_the_broker(error):
            return _send_apart(allowed, options, error)
        breaker.open()
        logger.warning(
            "Broker %s failed (%s). Rows not published: %d, and those of the next %d s; "
            "auto-reset will find them.",
            producers.connection().as_uri(),
            error,
            sum(message.size for message in allowed),
            BREAK,
        )
        return False
    announcing.published(allowed)
    return len(allowed) == len(messages)


def send_one(producer: Any, kind: Kind, row: Any, options: dict[str, Any]) -> None:
    """Let Celery make and send the message of a row, or of a list of rows."""
    kwargs = kind.kwargs(row)
    limits: dict[str, Any] = {}
    if kind.time_limit is not None:
        limits = {"soft_time_limit": kind.soft_time_limit, "time_limit": kind.time_limit}
    if kind.urgency is not None:
        limits |= _priority(producer, kind.urgency)
    current_app.signature(DO_TASK, kwargs=kwargs).apply_async(
        producer=producer,
        retry=False,
        shadow=kind.label,  # the name that the worker's log, events and Flower show
        **{**queue_of(kind.channel, kwargs), **limits, **options},
    )


def _priority(producer: Any, urgency: int) -> dict[str, int]:
    """Return the option that gives a message its priority; {} where the broker has none.

    Redis has the most urgent ones at 0 and RabbitMQ at 9 ("Message Priorities" of Celery's
    documentation).
    """
    if hasattr(producer.channel, "priority_steps"):
        return {"priority": 9 - urgency}
    is_amqp = producer.connection.transport.driver_type == "amqp"
    return {"priority": urgency} if is_amqp else {}


def queue_of(channel: str, kwargs: dict[str, Any]) -> dict[str, str]:
    """Return the option that names a channel's queue; {} for "default", or if a route does."""
    router = current_app.amqp.router
    if channel == "default" or router.lookup_route(DO_TASK, (), kwargs, {}, None):
        return {}
    return {"queue": conf.queue_template.format(channel=channel)}


def has_failed() -> bool:
    """Tell whether the broker, or one of its queues, has failed a moment ago."""
    return breaker.is_open() or any(one.is_open() for one in list(_refused.values()))


def forget() -> None:
    """Forget all failures."""
    breaker.close()
    _refused.clear()


def _send_batch(messages: list[Message], options: dict[str, Any]) -> None:
    """Send messages; where that fails by a kept connection, once more by a new one."""
    # A kept connection may be dead, or lead to a server that is no primary any more. To send
    # some messages twice does nothing.
    producer = producers.kept()
    if producer is not None:
        try:
            _send_by(producer, messages, options)
            return
        except Exception as error:
            if not _is_of_the_broker(error):
                raise
            deadline.waited()
    with deadline.waiting() as seconds:
        producer = producers.connected(seconds)
    _send_by(producer, messages, options)


def _send_by(producer: Any, messages: list[Message], options: dict[str, Any]) -> None:
    with producers.lent(producer):
        copier = fast.copier(producer, DO_TASK, options, send_one)
        with producer.batch(max_size=BATCH):
            for kind, row, _ in messages:
                if copier is None or not copier.send(kind, row):
                    send_one(producer, kind, row, options)
        if copier is not None:
            copier.flush()


def _run_eagerly(messages: list[Message], options: dict[str, Any]) -> None:
    """Run all rows here and now, as a worker would; raise the first failure at the end."""
    failures: list[Exception] = []
    for message in messages:
        kwargs = message.kind.kwargs(message.row)
        announcing.published([message])  # there is no broker: it runs in this call
        try:
            current_app.signature(DO_TASK, kwargs=kwargs).apply_async(**options)
        except Exception as error:
            if failures:
                logger.error("%s", error)
            failures.append(error)
    if failures:
        raise failures[0]


def _send_apart(messages: list[Message], options: dict[str, Any], error: Exception) -> bool:
    """Send each channel's messages by themselves, because ``error`` refused some."""
    by_channel: dict[str, list[Message]] = {}
    for message in messages:
        by_channel.setdefault(message.kind.channel, []).append(message)
    if len(by_channel) == 1:
        if not _is_of_the_broker(error):
            raise error
        _refuse(messages, error)
        return False
    failures: list[Exception] = []
    sent = []
    for some in by_channel.values():
        try:
            sent.append(send(some, options))
        except Exception as failure:
            failures.append(failure)
    if failures:
        raise failures[0]
    return all(sent)


def _refuse(messages: list[Message], error: Exception) -> None:
    """Send nothing to the channel of these messages for a while."""
    channel = messages[0].kind.channel
    if len(_refused) >= _MOST_REFUSED:
        _refused.clear()
    _refused.setdefault(channel, Breaker(BREAK)).open()
    logger.warning(
        "The broker refuses queue %s (%s). Rows not published: %d of channel %s, and those of "
        "the next %d s; auto-reset will find them.",
        task_info.short(queue_of(channel, {}).get("queue", "of the default")),
        error,
        sum(message.size for message in messages),
        task_info.short(channel),
        BREAK,
    )


def _has_lost_the_broker(error: Exception) -> bool:
    """Tell whether no other message would be sent either."""
    connection = producers.connection()
    if any(isinstance(one, connection.channel_errors) for one in (error, error.__cause__)):
        return False
    lost = (OSError, OperationalError, BatchPublishError, *connection.connection_errors)
    # amqp raises FrameSyntaxError, a connection error, for a queue's name of over 255 bytes.
    return isinstance(error, lost) and type(error).__name__ != "FrameSyntaxError"


def _is_of_the_broker(error: Exception) -> bool:
    connection = producers.connection()
    broken = (*connection.connection_errors, *connection.channel_errors)
    return isinstance(error, (KombuError, OSError, struct.error, *broken))
