"""A thousand rows that wait a second each for a site, on one worker with 200 threads."""

import json
import os
import sys
import time
from contextlib import ExitStack, contextmanager

from tests.benchmarks import processes, servers
from tests.benchmarks.systems import CELERY, REUSE, SYSTEMS
from tests.proofs.faults.servers import free_port

POOL = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 16}}}
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
PATIENCE = 45  # seconds without progress; a pool gives up after 30
OURS = ("ours", "simple_fetch", "fetching.publish")  # system, table, act
HAND = ("a", "plain_twin", "fetching.publish_by_hand")


def proxies(quick):
    count = 50 if quick else 1000
    for name in ("ours", "a"):
        SYSTEMS[name].make_tables()
    found = {
        "`CELERY_DB_REUSE_MAX` set": run(count, REUSE, *OURS),
        "not set": run(count, {}, *OURS),
    }
    hand = {
        "(a) a Celery task by hand, set": run(count, REUSE, *HAND),
        "(a) not set": run(count, {}, *HAND),
    }
    alone = requests_alone(count)
    lines = [line(setting, one) for setting, one in {**found, **hand}.items()]
    figures = ("seconds", "memory", "connections")
    return {
        "title": f"{count:,} proxy steps of a second, `-P threads -c 200`, a pool of 16",
        "head": ["setting", "s until all DONE", "successful", "peak MiB", "connections"],
        "lines": [
            *lines,
            ["the requests alone, by 200 threads", f"{alone:.1f}", count, "–", "–"],
        ],
        **{name: max(one[name] for one in found.values()) for name in figures},
        "by_hand": max(one["seconds"] for one in hand.values()),
    }


def line(setting, one):
    took = "never" if one["seconds"] == float("inf") else f"{one['seconds']:.1f}"
    return [setting, took, one["right"], f"{one['memory']:.0f}", one["connections"]]


@contextmanager
def site():
    """Serve the slow page; yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.slow_site", port]
    started = [processes.start(command, dict(os.environ), "site")]
    try:
        processes.wait_for_port(port)
        yield f"http://127.0.0.1:{port}/"
    finally:
        processes.stop(started)


def requests_alone(count):
    with site() as url:
        return SYSTEMS["a"].act(servers.new_queue(), "fetching.requests_alone", url, count)


def run(count, reuse, name, table, publish):
    """Run ``count`` rows; return what it took."""
    servers.run(f"TRUNCATE {table}")
    queue, system = servers.new_queue(), SYSTEMS[name]
    environ = system.environ(queue)
    del environ["BENCH_REUSE"]
    environ |= {"BENCH_DATABASE": json.dumps(POOL), "PGAPPNAME": "bench-proxies", **reuse}
    with ExitStack() as stack:
        url = stack.enter_context(site())
        system.act(queue, publish, url, count)
        command = [*CELERY, "-P", "threads", "-c", "200"]
        worker = [processes.start(command, environ, "proxies")]
        stack.callback(processes.stop, worker)
        meter = processes.Meter(worker)
        stack.callback(meter.end)
        connections = stack.enter_context(servers.Most(CONNECTIONS, "bench-proxies", 0.02))
        wait(table)
        time.sleep(2 * processes.PERIOD)
        begin, end, right = servers.ask(
            "SELECT extract(epoch FROM min(start_time))::float, "
            "extract(epoch FROM coalesce(max(done_time), now()))::float, "
            f"count(*) FILTER (WHERE success) FROM {table}"
        )
        memory = meter.peak(begin, end)
    took = end - begin if right == count else float("inf")
    found = {"seconds": took, "right": right, "memory": memory}
    return {**found, "connections": connections.most}


def wait(table):
    """Wait until all rows are DONE, or until for too long none has become so."""
    left, end = None, time.monotonic() + PATIENCE
    while left != 0 and time.monotonic() < end:
        time.sleep(0.1)
        found = servers.ask(f"SELECT count(*) FROM {table} WHERE status <> 30")[0]
        if found != left:
            left, end = found, time.monotonic() + PATIENCE
