"""A thousand rows that wait a second each for a site, on one worker with 200 threads."""

import json
import sys
import time
from contextlib import ExitStack

from tests.benchmarks import processes, servers
from tests.benchmarks.systems import CELERY, REUSE, SYSTEMS
from tests.faults.servers import free_port

POOL = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 16}}}
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
PATIENCE = 45  # seconds without progress; a pool gives up after 30


def proxies(quick):
    count = 50 if quick else 1000
    SYSTEMS["ours"].make_tables()
    found = {
        "`CELERY_DB_REUSE_MAX` set": run(count, REUSE),
        "not set": run(count, {}),
    }
    figures = ("seconds", "memory", "connections")
    return {
        "title": f"{count:,} proxy steps of a second, `-P threads -c 200`, a pool of 16",
        "head": ["setting", "s until all DONE", "successful", "peak MiB", "connections"],
        "lines": [
            [setting, seconds(one), one["right"], f"{one['memory']:.0f}"]
            + [one["connections"]]
            for setting, one in found.items()
        ],
        **{name: max(one[name] for one in found.values()) for name in figures},
    }


def seconds(one):
    if one["seconds"] == float("inf"):
        return "never"
    return f"{one['seconds']:.1f}"


def run(count, reuse):
    """Run ``count`` rows; return what it took."""
    servers.run("TRUNCATE simple_fetch")
    queue, port = servers.new_queue(), free_port()
    environ = SYSTEMS["ours"].environ(queue)
    del environ["BENCH_REUSE"]
    environ |= {"BENCH_DATABASE": json.dumps(POOL), "PGAPPNAME": "bench-proxies", **reuse}
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.benchmarks.slow_site", port]
        site = [processes.start(command, environ, "site")]
        stack.callback(processes.stop, site)
        processes.wait_for_port(port)
        url = f"http://127.0.0.1:{port}/"
        SYSTEMS["ours"].act(queue, "fetching.publish", url, count)
        command = [*CELERY, "-P", "threads", "-c", "200"]
        worker = [processes.start(command, environ, "proxies")]
        stack.callback(processes.stop, worker)
        meter = processes.Meter(worker)
        stack.callback(meter.end)
        connections = stack.enter_context(servers.Most(CONNECTIONS, "bench-proxies", 0.02))
        wait()
        time.sleep(2 * processes.PERIOD)
        begin, end, right = servers.ask(
            "SELECT extract(epoch FROM min(start_time))::float, "
            "extract(epoch FROM coalesce(max(done_time), now()))::float, "
            "count(*) FILTER (WHERE success) FROM simple_fetch"
        )
        memory = meter.peak(begin, end)
    took = end - begin if right == count else float("inf")
    found = {"seconds": took, "right": right, "memory": memory}
    return {**found, "connections": connections.most}


def wait():
    """Wait until all rows are DONE, or until for too long none has become so."""
    left, end = None, time.monotonic() + PATIENCE
    while left != 0 and time.monotonic() < end:
        time.sleep(0.1)
        found = servers.ask("SELECT count(*) FROM simple_fetch WHERE status <> 30")[0]
        if found != left:
            left, end = found, time.monotonic() + PATIENCE
