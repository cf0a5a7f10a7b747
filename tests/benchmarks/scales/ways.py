"""Ours by other pools of workers, other knobs of Celery's and another broker."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass

from tests.benchmarks import processes
from tests.benchmarks.systems import CELERY, OURS, REUSE, System, measure
from tests.proofs.faults.servers import RabbitMQ


@dataclass
class Way(System):
    """``arguments`` of each of ``number`` workers."""

    arguments: tuple = ()
    number: int = 1

    def workers(self, stack, environ):
        return [
            processes.start([*CELERY, "-n", f"w{number}@%h", *self.arguments], environ, "way")
            for number in range(self.number)
        ]


WAYS = {
    "`-P prefork -c 2`": ("-P", "prefork", "-c", "2"),
    "`-P prefork -c 8`": ("-P", "prefork", "-c", "8"),
    "`-P prefork -c 2 -O default --prefetch-multiplier 32`": (
        *("-P", "prefork", "-c", "2", "-O", "default", "--prefetch-multiplier", "32"),
    ),
    "`-P threads -c 2`": ("-P", "threads", "-c", "2"),
    "`-P threads -c 8`": ("-P", "threads", "-c", "8"),
    "`-P solo`, two of them": ("-P", "solo"),
    "`-P solo`, four of them": ("-P", "solo"),
    "`-P solo --prefetch-multiplier 32`, two of them": (
        *("-P", "solo", "--prefetch-multiplier", "32"),
    ),
}
FORMS = (
    *("{enqueue:.0f}", "{drain:.0f}", "{p50:.1f}", "{p95:.1f}"),
    *("{cpu:.2f}", "{memory:.0f}"),
)
NUMBERS = {"two": 2, "four": 4}


def ways(quick):
    """Drain and single rows, one round of each way on each broker."""
    rows, singles = (200, (10, 2)) if quick else (3000, (100, 8))
    lines = []
    with ExitStack() as stack:
        brokers = {"Redis": {}}
        if not RabbitMQ.why_not():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            rabbit = RabbitMQ(folder)
            stack.callback(rabbit.stop)
            brokers["RabbitMQ"] = {"TEST_BROKER_URL": rabbit.url}
        for broker, environ in brokers.items():
            for title, arguments in WAYS.items():
                number = NUMBERS.get(title.partition(", ")[2].partition(" ")[0], 1)
                more = {**OURS, "environment": {**REUSE, **environ}}
                way = Way("way", title, arguments=arguments, number=number, **more)
                way.make_tables()
                found = measure(way, rows, *singles)
                figures = ("enqueue", "drain", "p50", "p95", "cpu", "memory")
                cells = [f"{found[name]:.{1 if found[name] < 100 else 0}f}" for name in figures]
                lines.append([title, broker, *cells])
    return {
        "title": f"Ours by other pools and brokers ({rows:,} rows, one round)",
        "head": [
            *("workers", "broker", "enqueue, rows/s", "drain, rows/s"),
            *("p50, ms", "p95, ms", "CPU s, 1,000 rows", "memory, MiB"),
        ],
        "lines": lines,
    }
