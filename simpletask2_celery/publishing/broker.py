"""What can be asked of the broker: whether it answers, who works, how much waits."""

from contextlib import nullcontext
from typing import Any

from celery import current_app
from kombu.connection import Connection
from kombu.exceptions import KombuError

from ..conf import conf
from . import producers, to_celery
from .messages import DO_TASK


def ping() -> None:
    """Connect to the broker. Raises what its client does where that fails."""
    producers.connected(conf.publish_timeout).connection.release()


def workers(timeout: float) -> list[str] | None:
    """Return the names of the workers that answer in time; None if remote control is off."""
    if not current_app.conf.worker_enable_remote_control:
        return None
    # A new connection: after a failover, one that was kept may lead to the old broker.
    producer = producers.connected(conf.publish_timeout)
    with producer.connection as connection:
        mailbox = current_app.control.mailbox(connection)
        # Celery would take a producer of its pool, which waits without end.
        mailbox.producer_or_acquire = lambda *_, **__: nullcontext(producer)
        answers = mailbox.multi_call("ping", timeout=timeout)
    return sorted(name for answer in answers or () for name in answer)


def messages_in_queue(channel: str) -> float:
    """Return how many messages the channel's Celery queue holds.

    Infinitely many where the broker fails; none where it cannot count or has no such queue.
    """
    if current_app.conf.task_always_eager:
        return 0
    if to_celery.breaker.is_open():
        return float("inf")
    connection = producers.connection()
    try:
        queue = to_celery.queue_of(channel, {})
        options = current_app.amqp.router.route(queue, DO_TASK)
        producer = producers.connected(conf.publish_timeout)
        with producer.connection:  # its own: a refusal would spoil one that is kept
            asking = producer.channel
            # Redis creates nothing: a queue is a list there. With passive, kombu would forget
            # the project's prefix of keys.
            passive = not hasattr(asking, "conn_or_acquire")
            declared = asking.queue_declare(options["queue"].name, passive=passive)
            return float(declared.message_count)
    except connection.channel_errors:
        return 0
    except (KombuError, OSError, *connection.connection_errors):
        return float("inf")
    except Exception:  # a transport that cannot count, a route to no queue of ours
        return 0


def is_same(url: Any, other: Any) -> bool:
    """Tell whether two values of Celery's ``broker_url`` lead to the same broker."""
    try:
        return _place(url) == _place(other)
    except Exception:  # of a transport that is not installed, say
        return bool(url == other)


def _place(url: Any) -> tuple[Any, ...]:
    about = Connection(url).info()
    path = about["virtual_host"].strip("/") or "0"  # of Redis the same
    return path, *(about[part] for part in ("transport", "hostname", "port", "alternates"))
