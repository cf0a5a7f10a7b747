"""The faults of requests that an egress worker makes; ``scenarios`` has all others."""

import json
import os
import signal
import time
from contextlib import suppress

from tests.proofs.faults.rig import wait_until
from tests.proofs.faults.scenarios import fault
from tests.proofs.faults.servers import free_port

SMALL = 100  # bytes of an answer


def start(rig, app="simpletask2_celery.egress", size=SMALL, wait=0.4, copies=1):
    """Bring up all that rows with requests need; return when some are under way."""
    port = free_port()
    rig._run("site", "tests.proofs.faults.site", str(port))
    egress(rig, app)
    rig.worker()
    rig.beat()
    url = f"http://127.0.0.1:{port}/?wait={wait}&size={size}"
    options = json.dumps({"count": rig.rows // 2, "url": url, "copies": copies})
    rig.apps.append(rig._run("app", "tests.proofs.faults.asking", options))
    rig.under_load()


def egress(rig, app="simpletask2_celery.egress"):
    """Start an egress worker, which has neither Django's settings nor the database's address."""
    from tests.proofs.faults.shop.asking import QUEUE

    absent = ("DJANGO_SETTINGS_MODULE", "FAULTS_DATABASE_URL")
    environment = {name: "" for name in absent if name in os.environ}
    alone = ["--without-mingle", "--without-gossip", "-l", "INFO", "-n", "egress@%h"]
    return rig._run(
        "egress",
        *("celery", "-A", app, "worker", *alone),
        SIMPLETASK2_BROKER_URL=rig.broker.url,
        SIMPLETASK2_EGRESS_QUEUE=QUEUE,
        **environment,
    )


def in_mid_request(rig):
    """Return the name of a row whose request is out, each row once."""
    from tests.proofs.faults.shop.asking import Asking

    def out():
        for row in Asking.objects.filter(status=20).order_by("-pk"):
            name = row.get_task_info()
            steps = rig.steps(row=name, token=row.start_time.isoformat())
            if name not in rig.chosen and steps.exists() and not steps.exclude(ended=True).exists():
                return name
        return None

    name = wait_until(out, "a row whose request is out")
    rig.chosen.add(name)
    return name


def flush(rig):
    """Lose every message, those of egress workers too."""
    from tests.proofs.faults.shop.asking import QUEUE

    rig.broker.flush()
    if hasattr(rig.broker, "connection"):
        import amqp

        with rig.broker.connection() as connection, suppress(amqp.NotFound):
            connection.channel().queue_purge(QUEUE)


@fault("egress worker killed in mid-request")
def egress_killed(rig):
    start(rig)
    for _ in range(2):
        in_mid_request(rig)
        rig.strike()
        worker = rig.last("egress")
        rig.kill(worker)
        egress(rig)


@fault("egress worker frozen for longer than a lease")
def egress_frozen(rig):
    start(rig)
    in_mid_request(rig)
    rig.strike()
    worker = rig.last("egress")
    os.killpg(worker.pid, signal.SIGSTOP)
    time.sleep(6)
    os.killpg(worker.pid, signal.SIGCONT)


@fault("broker flushed between request and answer")
def egress_flushed(rig):
    start(rig)
    in_mid_request(rig)
    rig.strike()
    for _ in range(40):  # requests and answers are in a queue for a moment only
        flush(rig)
        time.sleep(0.02)


@fault("every answer of an egress worker three times", once=True)
def egress_doubled(rig):
    start(rig, app="tests.proofs.faults.doubling", copies=3)
    rig.strike()


def operate(rig, act_name, act):
    start(rig, wait=1)
    for _ in range(5):
        name = in_mid_request(rig)
        row = rig.load(name)
        rig.strike()
        rig.note(act_name, name)
        act(row)


@fault("row reset by an operator while its request is out")
def egress_row_reset(rig):
    operate(rig, "reset", lambda row: row.reset().publish())


@fault("row deleted by an operator while its request is out")
def egress_row_deleted(rig):
    operate(rig, "deleted", lambda row: row.delete())


@fault("row marked done by an operator while its request is out")
def egress_row_marked_done(rig):
    operate(rig, "done", lambda row: row.done(force=True))


@fault("answers too large for the broker")
def egress_too_large(rig):
    from tests.proofs.faults.shop.asking import LARGE

    if hasattr(rig.broker, "client"):  # RabbitMQ has its limit from its file
        rig.broker.client().config_set("proto-max-bulk-len", LARGE // 2)
    rig.strike()
    start(rig, size=LARGE)
