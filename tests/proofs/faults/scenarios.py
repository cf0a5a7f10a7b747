"""The faults, each a function that makes it happen; the table of contents is their list.

A function starts what it needs, strikes, and mends what has to be mended by hand. What
comes of it is not its business: the lane waits for the rows and counts.
"""

import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from celery import current_app


@dataclass(frozen=True)
class Fault:
    """A fault: its name in the table, what it does, and what it strikes."""

    name: str
    strike: Any
    needs_server: bool = False  # of a database: there is none of SQLite
    broker_away: bool = False  # so that the longest save() counts
    once: bool = False  # no run is hurt, so that none may be repeated


FAULTS: dict[str, Fault] = {}
DURABLE = "shop.durable:"  # how the names of durable rows begin


def fault(name, **more):
    def register(function):
        FAULTS[function.__name__] = Fault(name, function, **more)
        return function

    return register


# -- processes ---------------------------------------------------------------------------


@fault("worker child killed in mid-step")
def child_killed(rig):
    rig.start()
    for kind in ("shop.", DURABLE, DURABLE):
        line = rig.in_mid_step(kind)
        rig.strike()
        os.kill(line.process, signal.SIGKILL)


@fault("worker killed, all of it")
def worker_killed(rig):
    rig.start()
    for start in (rig.again, lambda _: rig.worker()):  # under its name, and gone for good
        rig.in_mid_step(DURABLE)
        rig.strike()
        worker = rig.last("worker")
        rig.kill(worker)
        start(worker)


@fault("beat killed", once=True)
def beat_killed(rig):
    rig.start()
    rig.strike()
    rig.kill(rig.last("beat"))
    rig.broker.flush()  # so that there is something that only the reset can find
    time.sleep(2)
    rig.beat()


@fault("two beats at once", once=True)
def two_beats(rig):
    rig.beat()
    rig.start()
    rig.strike()
    rig.broker.flush()


@fault("app killed between commit and publish", once=True)
def app_killed(rig):
    rig.start(count=rig.rows // 2)
    for _ in range(3):
        rig.strike()
        rig.app(count=rig.rows // 3, die_at=rig.rows // 6).wait(60)


@fault("SIGTERM in mid-step: warm shutdown", once=True)
def warm_shutdown(rig):
    rig.start(seconds=0.5, count=rig.rows // 2)
    rig.in_mid_step()
    rig.strike()
    worker = rig.last("worker")
    worker.terminate()
    rig.again(worker)


@fault("SIGTERM twice and SIGQUIT in mid-step: cold shutdown")
def cold_shutdown(rig):
    rig.start(seconds=0.5, count=rig.rows // 2)
    rig.in_mid_step(DURABLE)
    rig.strike()
    worker = rig.last("worker")
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGQUIT):
        worker.send_signal(number)  # Celery ignores the second SIGTERM
        time.sleep(0.05)
    rig.again(worker)


def wrong_clock(rig, seconds):
    """Let resets by either worker meet rows of the other: no queue that holds them up."""
    rig.worker(clock=seconds)
    rig.start(seconds=0.6, pause=0.25)
    rig.strike()


@fault("clock of one of two workers 5 min ahead", once=True)
def clock_ahead(rig):
    wrong_clock(rig, 300)


@fault("clock of one of two workers 5 min behind", once=True)
def clock_behind(rig):
    wrong_clock(rig, -300)


# -- the broker --------------------------------------------------------------------------


@fault("broker restarted", broker_away=True, once=True)
def broker_restarted(rig):
    rig.start()
    rig.strike()
    rig.broker.restart()


@fault("broker flushed", once=True)
def broker_flushed(rig):
    rig.start()
    for _ in range(2):
        rig.strike()
        rig.broker.flush()
        time.sleep(1)


@fault("broker frozen for 20 s", broker_away=True, once=True)
def broker_frozen(rig):
    rig.start()
    rig.strike()
    rig.broker.freeze(20)


@fault("broker unreachable at save()", broker_away=True, once=True)
def broker_unreachable(rig):
    rig.start()
    rig.strike()
    rig.broker.kill()
    rig.apps[0].wait(120)
    rig.app(count=rig.rows // 4).wait(120)
    rig.broker.start()


@fault("every message three times", once=True)
def message_doubled(rig):
    rig.worker()
    rig.start(copies=3)
    rig.strike()


@fault("messages replayed after DONE", once=True)
def message_replayed(rig):
    from tests.proofs.faults.shop.models import TASKS

    rig.start()
    rig.apps[0].wait(60)
    rig.strike()
    for model in TASKS:
        for row in model.objects.all():
            name = {"app_label": "shop", "model": model._meta.model_name, "id": row.pk}
            current_app.send_task("simpletask2_celery.do_task", kwargs=name)


# -- the database ------------------------------------------------------------------------


@fault("database restarted in mid-step", needs_server=True)
def database_restarted_in_step(rig):
    rig.start(what=["saves"], seconds=0.5, count=rig.rows // 2)
    rig.in_mid_step(DURABLE)
    rig.strike()
    rig.database.restart()


@fault("database restarted between claim and finish", needs_server=True)
def database_restarted_before_finish(rig):
    rig.start(what=["work"], seconds=0.5, count=rig.rows // 2)
    rig.in_mid_step()
    rig.strike()
    rig.database.restart()


# -- sessions and people: no run whose handler has succeeded is repeated -------------------

#: Handlers that touch no database: what fails is the library's to mend, and nothing else.
QUIET = {"what": ["work"], "pause": 0.04}


@fault("sessions cut, twelve times under load", needs_server=True, once=True)
def sessions_cut(rig):
    """In mid-handler, while idle, in a step's write, after its COMMIT was sent."""
    rig.start(**QUIET)
    rig.strike()
    for _ in range(12):
        rig.database.cut_sessions()
        time.sleep(0.2)


@fault("server cuts sessions that idle for a second", needs_server=True, once=True)
def sessions_idle(rig):
    rig.database.limit_idle(1)
    try:
        rig.start(**QUIET, seconds=1.6, count=rig.rows // 4)
        rig.in_mid_step()
        rig.strike()
        rig.apps[0].wait(60)
        time.sleep(2)  # all of the worker's are cut
        rig.app(**QUIET, count=rig.rows // 4).wait(60)
        time.sleep(2)
    finally:
        rig.database.limit_idle(0)


@fault("read-only server for 2 s, twice: a failover and back", needs_server=True, once=True)
def failover(rig):
    rig.start(**QUIET)
    rig.strike()
    for _ in range(2):
        rig.database.refuse_writes(True)
        time.sleep(2)
        rig.database.refuse_writes(False)
        time.sleep(4)  # a lease, or one run would meet both


@fault("rows locked by a transaction for 2 s, twice", needs_server=True, once=True)
def rows_locked(rig):
    rig.start(**QUIET)
    rig.strike()
    for _ in range(2):
        rig.lock_rows(2)
        time.sleep(1)


# -- the operator ------------------------------------------------------------------------


#: Long steps, and children without work: a row that is published again while it runs is
#: claimed before its first run ends.
LONG = {"seconds": 1, "pause": 0.5}


def operate(rig, act_name, act, **app):
    rig.worker()
    rig.start(count=rig.rows // 2, **LONG, **app)
    for kind in (DURABLE, DURABLE, "shop.", "shop.", "shop.", "shop."):
        line = rig.in_mid_step(kind)
        row = rig.load(line.row)
        rig.strike()
        rig.note(act_name, line.row)
        act(row)


def reset(row):
    """Have the row run again: a durable one after its last completed step."""
    from simpletask2_celery.models import DurableTask

    row = row.reset(resume=True) if isinstance(row, DurableTask) else row.reset()
    row.publish()


@fault("row reset by an operator while it runs")
def row_reset(rig):
    operate(rig, "reset", reset)


@fault("row deleted by an operator while it runs")
def row_deleted(rig):
    operate(rig, "deleted", lambda row: row.delete())


@fault("row marked done by an operator while it runs")
def row_marked_done(rig):
    operate(rig, "done", lambda row: row.done(force=True))


# -- the handler -------------------------------------------------------------------------


@fault("handler slower than its lease")
def handler_slow(rig):
    rig.worker()
    rig.start()
    rig.strike()
    rig.app(count=4, what=["slow_once"])


@fault("handler that saves its row in every way, and loses it")
def handler_saves(rig):
    operate(rig, "reset", reset, what=["saves"])


from tests.proofs.faults import egress  # noqa: E402, F401  more faults
