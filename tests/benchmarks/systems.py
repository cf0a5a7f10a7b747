"""The systems, each with two worker processes, and how one round measures one of them."""

import os
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.benchmarks import processes, servers
from tests.proofs.faults.servers import free_port
from tests.support import originals

CELERY = [sys.executable, "-m", "celery", "-A", "tests.benchmarks.celery", "worker"]
PERSISTENT = {"BENCH_DATABASE": '{"CONN_MAX_AGE": null}'}
REUSE = {"BENCH_REUSE": "1"}
PATIENCE = 300  # seconds that a drain may take


class NotThere(Exception):
    """The system, or the part of ours, does not exist on this machine or not yet."""


@dataclass
class System:
    """One way to run rows: ``side`` is its project, ``saves`` how its rows are made."""

    name: str
    title: str
    side: str
    table: str = "plain_row"
    saves: str = "saves"
    environment: dict = field(default_factory=dict)
    also: tuple = ()  # tables that its library keeps
    share: float = 1.0  # of the rows that a drain takes: less for the slow ones
    pause: int = 50  # ms between two single rows at most; 0 for no single rows

    def environ(self, queue):
        return originals.environ(
            DJANGO_SETTINGS_MODULE="tests.benchmarks.settings",
            BENCH_SIDE=self.side,
            BENCH_QUEUE=queue,
            **self.environment,
        )

    def python(self):
        return sys.executable

    def workers(self, stack, environ):
        """Start the workers and return their processes."""
        return [processes.start([*CELERY, "-c", "2"], environ, self.name)]

    def make_tables(self):
        command = [self.python(), "-m", "django", "migrate", "--run-syncdb", "-v", "0"]
        made = processes.start(command, self.environ("none"), f"{self.name}-migrate")
        if made.wait():
            raise RuntimeError(made.log.read_text()[-2000:])

    def act(self, queue, what, *arguments, **more):
        """Have a process of this side do one of the ``acts``; return what it says."""
        return processes.say(
            "tests.benchmarks.acts",
            what,
            *arguments,
            environment={**self.environ(queue), **more},
            python=self.python(),
        )


class Procrastinate(System):
    def workers(self, stack, environ):
        command = [sys.executable, "-m", "django", "procrastinate", "worker"]
        return [processes.start(command, environ, self.name) for _ in range(2)]


class DjangoTasks(System):
    def workers(self, stack, environ):
        command = [sys.executable, "-m", "django", "db_worker", "--no-startup-delay"]
        return [processes.start(command, environ, self.name) for _ in range(2)]


class Solo(System):
    def workers(self, stack, environ):
        command = [*CELERY, "-P", "solo"]
        return [processes.start(command, environ, self.name) for _ in range(2)]


class Original(System):
    """Two web processes under gunicorn, and the server that posts them the rows."""

    def python(self):
        return originals.served_python()

    def make_tables(self):
        SYSTEMS["ours"].make_tables()  # whose schema is the same

    def workers(self, stack, environ):
        port = free_port()
        web = [self.python(), "-m", "gunicorn", "--workers", "2", "--log-level", "warning"]
        web += ["--bind", f"127.0.0.1:{port}", "tests.benchmarks.wsgi"]
        started = [processes.start(web, environ, "original-web")]
        stack.callback(processes.stop, started)
        processes.wait_for_port(port)
        program = originals.server("0.1.1")
        file = self._configuration(port, environ["BENCH_QUEUE"])
        command = [program, "--config", file, "--no-daemon", "start"]
        return [*started, processes.start(command, environ, "original-server")]

    def _configuration(self, port, queue):
        import yaml

        folder, lists = os.environ["TEST_FOLDER"], f"{servers.name()}:{queue}"
        path = os.path.join(folder, f"{queue}.yml")
        values = {
            "redis": os.environ["TEST_REDIS_URL"] + "?decode_responses=True",
            "server": f"http://127.0.0.1:{port}/django-simpletask2/",
            "aclkey": "the key of the benchmark",
            "threads": 4,
            "idle-sleep": 0,
            "error-sleep": 1,
            "task-pull-timeout": 1,
            "auto-reset-task-interval": 60,
            "channel-name-template": lists + ":channels:{channel}",
            "channel-flags-template": lists + ":flags:{channel}",
            "channel-name-strip-regex": ".*:channels:(?P<channel>.*)$",
            "pidfile": os.path.join(folder, "original.pid"),
            "logfile": os.path.join(folder, "original.log"),
        }
        with open(path, "w") as file:
            yaml.safe_dump(values, file)
        return path


OURS = {"side": "ours", "table": "simple_task", "environment": REUSE}
HAND = {"side": "hand", "table": "plain_twin"}
SYSTEMS = {
    system.name: system
    for system in (
        System("ours", "simpletask2_celery", **OURS),
        System(
            "chunk",
            "simpletask2_celery, 50 rows a message",
            saves="chunks",
            pause=0,
            **OURS,
        ),
        System("a", "(a) Celery task by hand", **HAND, environment=REUSE),
        System("b", "(b) the same, Celery's defaults", **HAND, share=0.5),
        Procrastinate(
            "c",
            "(c) procrastinate",
            "procrastinate",
            environment=PERSISTENT,
            also=("procrastinate_jobs",),
        ),
        DjangoTasks(
            "d",
            "(d) django-tasks-db",
            "django_tasks",
            environment=PERSISTENT,
            also=("django_tasks_database_dbtaskresult",),
            pause=1000,  # it polls once a second
        ),
        Original(
            "e",
            "(e) django-simpletask2",
            "original",
            table="simple_task",
            environment=PERSISTENT,
            share=0.5,
        ),
        System(
            "least",
            "the least: a message, two statements",
            **HAND,
            environment={**REUSE, "BENCH_TASK": "least"},
        ),
    )
}


#: The rows of Django's Tasks, measured beside (d) alone.
FUNCTIONS = {
    "side": "tasks",
    "environment": REUSE,
    "also": ("simpletask2_tasks_functiontask",),
}
OF_FUNCTIONS = {
    "tasks": System("tasks", "`CeleryBackend`, `celery worker -c 2`", **FUNCTIONS),
    "solo": Solo("solo", "`CeleryBackend`, two workers `-P solo`", **FUNCTIONS),
    "d": SYSTEMS["d"],
    "pushed": DjangoTasks(
        "pushed",
        "the least of an enqueue(): (d)'s own, and a push by redis alone",
        "django_tasks",
        environment={**PERSISTENT, "BENCH_TASK": "pushed"},
        also=SYSTEMS["d"].also,
        pause=0,
    ),
    "least": System(
        "least_job",
        "the least of a drain: a message, two statements by psycopg, the job",
        "hand",
        table="plain_twin",
        also=("plain_row",),
        environment={**REUSE, "BENCH_TASK": "least_of_a_job"},
    ),
}


def measure(system, rows, singles, seconds):
    """Measure one round of a system: rows saved, then drained, then one at a time."""
    rows = int(rows * system.share)
    queue = servers.new_queue()
    servers.run(f"TRUNCATE {', '.join([system.table, *system.also])} CASCADE")
    saved = system.act(queue, f"saving.{system.saves}", rows)
    if "missing" in saved:
        raise NotThere(saved["missing"])
    found = {"enqueue": saved["rows"] / saved["seconds"]}
    servers.settle()
    servers.forget_queries()
    with ExitStack() as stack:
        workers = system.workers(stack, system.environ(queue))
        stack.callback(processes.stop, workers)
        meter = processes.Meter(workers)
        stack.callback(meter.end)
        found |= drained(system, rows, meter)
        if system.pause:
            times = system.act(queue, "saving.latencies", singles, seconds, system.pause)
            found |= {"p50": statistics.median(times), "p95": percentile(times, 95)}
    return found


def drained(system, rows, meter):
    """Wait until all rows are DONE; return what that took."""
    left = f"SELECT count(*) FROM {system.table} WHERE status <> 30"
    end = time.monotonic() + PATIENCE
    while count := servers.ask(left)[0]:
        if time.monotonic() > end:
            raise TimeoutError(f"{count} of {rows} rows are not DONE in {PATIENCE} s")
        time.sleep(0.25)
    queries = servers.queries()
    time.sleep(2 * processes.PERIOD)  # for the meter's last look
    begin, finish, right = servers.ask(
        "SELECT extract(epoch FROM min(start_time))::float, "
        "extract(epoch FROM max(done_time))::float, count(*) FILTER (WHERE success) "
        f"FROM {system.table}"
    )
    if right != rows:
        raise RuntimeError(f"{rows - right} of {rows} rows have failed")
    return {
        "drain": rows / (finish - begin),
        "memory": meter.peak(begin, finish),
        "cpu": meter.cpu(begin, finish) * 1000 / rows,
        **({"queries": float(queries) / rows} if queries else {}),
    }


def percentile(values, number):
    return sorted(values)[min(len(values) * number // 100, len(values) - 1)]
