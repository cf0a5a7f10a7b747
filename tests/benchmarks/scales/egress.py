"""A thousand rows whose requests an egress worker makes, on one worker of two processes."""

import os
import sys
import time
from contextlib import ExitStack

from tests.benchmarks import processes, servers
from tests.benchmarks.scales.proxies import site, wait
from tests.benchmarks.systems import CELERY, REUSE, SYSTEMS

EGRESS = [sys.executable, "-m", "celery", "-A", "simpletask2_celery.egress", "worker"]
LARGE = 10  # answers of 10 MiB
SPAN = (
    "SELECT extract(epoch FROM min({begin}))::float, extract(epoch FROM max(done_time))::float, "
    "count(*) FILTER (WHERE success) FROM {table}"
)


def egress(quick):
    count, others = (50, 50) if quick else (1000, 500)
    SYSTEMS["ours"].make_tables()
    alone = ordinary(others)
    found = [run(count, others) for _ in range(1 if quick else 3)]
    one = sorted(found, key=lambda each: each["seconds"])[len(found) // 2]
    heavy = run(count, others, LARGE)
    share = one["rate"] / alone
    lines = [
        [f"{count:,} rows with a request of a second, s until all DONE", f"{one['seconds']:.1f}"],
        ["successful", str(one["right"])],
        [f"{others} other rows meanwhile, rows/s", f"{one['rate']:.0f}"],
        [f"{others} other rows alone, rows/s", f"{alone:.0f}"],
        [f"with {LARGE} answers of 10 MiB among them, s", f"{heavy['seconds']:.1f}"],
        ["peak of the egress worker then, MiB", f"{heavy['memory']:.0f}"],
    ]
    return {
        "title": f"{count:,} requests of a second by an egress worker, and a worker `-c 2`",
        "head": ["what", "figure"],
        "lines": lines,
        "seconds": one["seconds"],
        "share": share,
        "memory": heavy["memory"],
    }


def ordinary(others):
    """Return the rows a second of ``others`` rows without any request."""
    servers.run("TRUNCATE simple_task, simple_fetch")
    queue, system = servers.new_queue(), SYSTEMS["ours"]
    with ExitStack() as stack:
        start_worker(stack, {**system.environ(queue), **REUSE}, system, queue)
        system.act(queue, "fetching.publish_others", others)
        wait("simple_task")
    begin, end, _ = servers.ask(SPAN.format(begin="start_time", table="simple_task"))
    return others / (end - begin)


def start_worker(stack, environ, system, queue):
    """Start a worker, and let it run a row: its start is no part of what is measured."""
    worker = processes.start([*CELERY, "-c", "2"], environ, "egress-worker")
    stack.callback(processes.stop, [worker])
    system.act(queue, "fetching.publish_others", 2)
    wait("simple_task")
    servers.run("TRUNCATE simple_task")


def run(count, others, large=0):
    servers.run("TRUNCATE simple_task, simple_fetch")
    queue, system = servers.new_queue(), SYSTEMS["ours"]
    requests = servers.new_queue()
    environ = {**system.environ(queue), **REUSE, "BENCH_EGRESS": requests}
    own = {
        **{name: os.environ[name] for name in ("PATH",)},
        "SIMPLETASK2_BROKER_URL": os.environ["TEST_BROKER_URL"],
        "SIMPLETASK2_EGRESS_QUEUE": requests,
    }
    with ExitStack() as stack:
        url = stack.enter_context(site())
        machine = processes.start(EGRESS, own, "egress")
        stack.callback(processes.stop, [machine])
        start_worker(stack, environ, system, queue)
        system.act(queue, "fetching.publish", url, 1, BENCH_EGRESS=requests)
        wait("simple_fetch")
        servers.run("TRUNCATE simple_fetch")
        # To look at the memory of 200 threads takes CPU, too.
        meter = processes.Meter([machine] if large else [])
        stack.callback(meter.end)
        system.act(queue, "fetching.publish", url, count, large, BENCH_EGRESS=requests)
        time.sleep(1.5)  # most requests are out
        system.act(queue, "fetching.publish_others", others)
        wait("simple_task")
        wait("simple_fetch")
        time.sleep(2 * processes.PERIOD)
        begin, end, right = servers.ask(SPAN.format(begin="start_time", table="simple_fetch"))
        first, last, _ = servers.ask(SPAN.format(begin="start_time", table="simple_task"))
        memory = meter.peak(begin, end)
    took = end - begin if right == count + large else float("inf")
    return {"seconds": took, "right": right, "rate": others / (last - first), "memory": memory}
