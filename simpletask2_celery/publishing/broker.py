"""What can be asked of the broker: whether it answers, who works, how much waits."""

from contextlib import nullcontext
from typing import Any, NamedTuple

from celery import current_app
from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.pidbox import Mailbox
from kombu.utils.url import maybe_sanitize_url

from ..conf import conf
from . import producers, to_celery
from .messages import DO_TASK


def ping() -> None:
    """Connect to the broker. Raises what its client does where that fails."""
    producers.connected(conf.publish_timeout).connection.release()


class Worker(NamedTuple):
    """A worker that answers, and the queues that it serves; None where it does not say."""

    name: str
    queues: list[str] | None


def terminate(task_id: str, signal: str) -> None:
    """Ask all workers to send a signal to the process that runs a task; wait for no answer.

    Raises what the broker's client does. Where remote control is off, nobody hears it.
    """
    producer = producers.connected(conf.publish_timeout)
    with producer.connection as connection:
        about = {"task_id": task_id, "terminate": True, "signal": signal}
        _mailbox(connection, producer).abcast("revoke", about)


def workers(timeout: float, egress: str | None = None) -> list[Worker] | None:
    """Return the workers that answer within ``timeout`` seconds, by name.

    With ``egress``, the queue of egress workers, these: their remote control is their own.
    None where nobody can ask them: remote control is off, or the broker has no broadcasts.
    """
    if not current_app.conf.worker_enable_remote_control:
        return None
    # A new connection: after a failover, one that was kept may lead to the old broker.
    producer = producers.connected(conf.publish_timeout)
    with producer.connection as connection:
        if not connection.supports_exchange_type("fanout"):  # as workers look whether to listen
            return None
        mailbox = _mailbox(connection, producer, egress)
        answers = mailbox.multi_call("active_queues", timeout=timeout)
    # Two workers may have one name, and other queues each.
    found = [
        Worker(name, [queue["name"] for queue in said] if isinstance(said, list) else None)
        for answer in answers or ()
        for name, said in answer.items()
    ]
    return sorted(found, key=lambda one: one.name)


def queue_of(channel: str, kwargs: dict[str, Any]) -> str | None:
    """Return the name of the queue that a channel's messages with these ``kwargs`` go to.

    None where a route of the project's leads to no queue, or does not work without a row's key.
    """
    try:
        return _queue_of(channel, kwargs)
    except Exception:
        return None


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
        queue = _queue_of(channel, {})
        producer = producers.connected(conf.publish_timeout)
        with producer.connection:  # its own: a refusal would spoil one that is kept
            asking = producer.channel
            # Redis creates nothing: a queue is a list there. With passive, kombu would forget
            # the project's prefix of keys.
            passive = not hasattr(asking, "conn_or_acquire")
            declared = asking.queue_declare(queue, passive=passive)
            return float(declared.message_count)
    except connection.channel_errors:
        return 0
    except (KombuError, OSError, *connection.connection_errors):
        return float("inf")
    except Exception:  # a transport that cannot count, a route to no queue of ours
        return 0


def _mailbox(connection: Connection, producer: Any, namespace: str | None = None) -> Any:
    mailbox = current_app.control.mailbox(connection)
    if namespace is not None:
        alone = Mailbox(namespace, type="fanout", accept=["json"], reply_queue_expires=10.0)
        mailbox = alone(connection)
    # Celery would take a producer of its pool, which waits without end.
    mailbox.producer_or_acquire = lambda *_, **__: nullcontext(producer)
    return mailbox


def _queue_of(channel: str, kwargs: dict[str, Any]) -> str:
    options = to_celery.queue_of(channel, kwargs)
    return str(current_app.amqp.router.route(options, DO_TASK, kwargs=kwargs)["queue"].name)


def is_same(url: Any, other: Any) -> bool:
    """Tell whether two values of Celery's ``broker_url`` lead to the same broker."""
    try:
        return _place(url) == _place(other)
    except Exception:  # of a transport that is not installed, say
        return bool(url == other)


def shown(url: Any) -> str:
    """Return a value of Celery's ``broker_url``, of one broker or several, without passwords."""
    urls = url if isinstance(url, (list, tuple)) else str(url or "none").split(";")
    return ";".join(_masked(str(one)) for one in urls)


def _masked(url: str) -> str:
    try:
        return str(maybe_sanitize_url(url)) if "://" in url or url == "none" else "a URL"
    except ValueError:
        return "a URL"


def _place(url: Any) -> tuple[Any, ...]:
    about = Connection(url).info()
    path = about["virtual_host"].strip("/") or "0"  # of Redis the same
    return path, *(about[part] for part in ("transport", "hostname", "port", "alternates"))
