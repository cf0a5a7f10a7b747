"""Brokers with a user for an egress machine, and egress workers as their machine has them."""

import os
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from celery import current_app

from tests.support import ROOT, services
from tests.support.fixtures import environ, folder, is_ready, kill, wait_until

RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
MACHINE = Path(__file__).with_name("egress_machine")
PASSWORD = "s3cret"


class Broker:
    """A broker: its ``url`` for the project, ``limited`` for the egress machine."""

    def __init__(self, url, limited, queue, own):
        self.url, self.limited, self.queue, self.own = url, limited, queue, own


def own_queue():
    """Return the queue of the rows of this run."""
    return current_app.conf.task_default_queue


@contextmanager
def on_redis():
    """Add a user to the run's Redis whose ACL is the one of docs/operate/egress.md."""
    import redis

    url, queue = os.environ["TEST_REDIS_URL"], f"{own_queue()}.egress"
    client = redis.Redis.from_url(url)
    user = queue.replace(".", "-")
    parts = urlsplit(url)
    rules = [rule.replace("&/0.", f"&{parts.path}.") for rule in acl(queue, own_queue())]
    client.execute_command("ACL", "SETUSER", user, "on", f">{PASSWORD}", *rules)
    limited = parts._replace(netloc=f"{user}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}")
    try:
        yield Broker(url, limited.geturl(), queue, own_queue())
    finally:
        client.execute_command("ACL", "DELUSER", user)
        client.close()


def acl(queue, reply):
    """Return the rules of the page for the two queues."""
    line = command_of_page("redis-cli ACL SETUSER")
    rules = line.replace("simpletask2.egress", queue).replace("~celery", f"~{reply}")
    return shlex.split(rules)[6:]


@contextmanager
def on_rabbitmq():
    """Add a user to the machine's RabbitMQ whose permissions are those of the page."""
    if not shutil.which("rabbitmqctl", path=os.environ["PATH"] + ":/usr/sbin"):
        pytest.skip("no rabbitmqctl on PATH")
    queue = f"{own_queue()}.egress"
    user = queue
    added = rabbitmqctl("add_user", user, PASSWORD)
    if added.returncode:
        pytest.skip(f"rabbitmqctl: {added.stderr.strip() or added.stdout.strip()}")
    try:
        done = rabbitmqctl("set_permissions", user, *permissions(queue, own_queue()))
        assert done.returncode == 0, done.stderr
        url = f"amqp://{user}:{PASSWORD}@127.0.0.1:5672//"
        yield Broker(RABBITMQ, url, queue, own_queue())
    finally:
        rabbitmqctl("delete_user", user)
        with current_app.connection_for_write(RABBITMQ) as connection:
            connection.default_channel.queue_delete(queue)
            if os.environ["TEST_BROKER_URL"].startswith("redis"):  # or other tests need it
                connection.default_channel.queue_delete(own_queue())


def permissions(queue, reply):
    """Return the three permissions of the page for the two queues."""
    line = command_of_page("rabbitmqctl set_permissions")
    rules = line.replace("simpletask2\\.egress", queue.replace(".", "\\."))
    rules = rules.replace("|celery", "|" + reply.replace(".", "\\."))
    return shlex.split(rules)[3:]


def command_of_page(begin):
    """Return the command of docs/operate/egress.md that begins so."""
    text = (ROOT / "docs/operate/egress.md").read_text().replace("\\\n", " ")
    return next(line for line in text.splitlines() if line.startswith(begin))


def rabbitmqctl(*words):
    program = shutil.which("rabbitmqctl", path=os.environ["PATH"] + ":/usr/sbin")
    return subprocess.run([program, "-q", *words], capture_output=True, text=True, timeout=60)


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_of_both(request):
    """A broker of either kind, with its limited user."""
    with {"redis": on_redis, "rabbitmq": on_rabbitmq}[request.param]() as found:
        yield found


@pytest.fixture
def egress(tmp_path):
    """Start egress workers on a machine that has neither Django nor the project."""
    with ExitStack() as stack:
        count = iter(range(100))

        def start(broker, *options, ports=(), wait=True, **more):
            log = folder() / f"egress-{next(count)}.log"
            port = urlsplit(broker.limited).port
            environment = {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(MACHINE),
                "EGRESS_PORTS": ",".join(map(str, (port, *ports))),
                "SIMPLETASK2_BROKER_URL": broker.limited,
                "SIMPLETASK2_EGRESS_QUEUE": broker.queue,
                **more,
            }
            command = [sys.executable, "-m", "celery", "-A", "simpletask2_celery.egress", "worker"]
            file = stack.enter_context(log.open("w"))
            process = subprocess.Popen(
                [*command, "-Q", broker.queue, "-l", "INFO", *options],
                cwd=tmp_path,
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
            stack.callback(kill, process)
            process.log = log
            if wait:
                wait_until(is_ready(process), 30, log)
            return process

        yield start


def publish(model, using, url):
    """Publish the READY rows of a model to a broker, as another process."""
    label, where = model._meta.label, ["--database", using, "--skip-checks"]
    done = subprocess.run(
        [sys.executable, "-m", "django", "simpletask2_publish", label, *where],
        cwd=ROOT,
        env=environ(CHILD_BROKER_URL=url),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def free_port():
    return services.free_port()
