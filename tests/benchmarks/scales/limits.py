"""What no library on Celery and PostgreSQL gets below: a message, and two commits."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import kombu

from tests.benchmarks import processes, servers
from tests.benchmarks.scales import rows
from tests.benchmarks.systems import SYSTEMS

AS_IT_IS = {"durable": True, "auto_delete": False}  # on Redis an empty one is none


def limits(quick):
    count = 200 if quick else 3000
    message = messages(count)
    row, statement = by_two("rows", count), by_two("statements", count)
    both = 1 / (1 / message + 1 / row)
    least = 1 / (1 / message + 1 / statement)
    lines = [
        ["messages that run nothing: `celery worker -c 2`", message],
        ["rows of ours without messages: two processes", row],
        ["the two statements of a row by psycopg alone: two processes", statement],
        ["a message and then a row of ours", both],
        ["a message and then the two statements: the limit", least],
    ]
    return {
        "title": f"What is left ({count:,} each)",
        "head": ["what", "a second"],
        "lines": [[what, f"{rate:.0f}"] for what, rate in lines],
        "statements": statement,
    }


def messages(count):
    """Return how many messages a worker takes a second that run nothing."""
    queue = servers.new_queue()
    hand = SYSTEMS["a"]
    hand.make_tables()
    hand.act(queue, "limits.messages", count)
    with ExitStack() as stack:
        connection = stack.enter_context(kombu.Connection(os.environ["TEST_BROKER_URL"]))
        channel = connection.default_channel
        workers = hand.workers(stack, hand.environ(queue))
        stack.callback(processes.stop, workers)
        began, left = None, count
        while left:
            time.sleep(0.01)
            left = channel.queue_declare(queue, **AS_IT_IS).message_count
            if began is None and left < count:
                began, first = time.monotonic(), left
        return first / (time.monotonic() - began)


def by_two(what, count):
    """Return how many rows two processes do a second."""
    rows.fill("simple_task", count, rows.READY)
    first = servers.ask("SELECT min(id) FROM simple_task")[0]
    halves = [(first, first + count // 2), (first + count // 2, first + count)]
    queue = servers.new_queue()

    def act(half):
        return SYSTEMS["ours"].act(queue, f"limits.{what}", *half)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(act, halves))
    done = servers.ask("SELECT count(*) FROM simple_task WHERE status = 30")[0]
    assert done == count, done
    return count / (max(end for _, end in found) - min(begin for begin, _ in found))
