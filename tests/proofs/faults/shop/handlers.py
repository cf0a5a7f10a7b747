"""What the rows' handlers do, under the eyes of the ledger."""

import os
import time

from django.db import transaction
from django.db.models import F


class Again(Exception):
    """What a durable row's step raises to be tried again."""


OFF = int(os.environ.get("FAULTS_CLOCK", 0))  # of this process's clock


def run(row, payload):
    """Do one step: be alive for a while, and leave the mark of this claim on the row.

    A durable row writes its effect first: a fault in mid-step finds it written, not committed.
    """
    from .models import Durable, Effect, Ledger

    token = row.start_time
    line = Ledger.objects.create(
        what="step",
        row=row.get_task_info(),
        token=token.isoformat(),
        claimed=claimed(token),
        step=payload["step"],
        process=os.getpid(),
        began=time.time(),
        seen=time.time(),
    )
    mark = f"{token.isoformat()} {payload['step']}"
    try:
        if isinstance(row, Durable):
            Effect.objects.create(row=line.row, step=line.step)
        globals()[row.what](row, line, mark)
        if isinstance(row, Durable) and row.fails and line.step == 2 and not row.errors:
            raise Again(f"{line.row} fails once")
        line.completed = True
    finally:
        line.seen, line.ended = time.time(), True
        line.save()


def claimed(token):
    """Return the time of the claim by the right clock, whichever clock gave the token."""
    times = token.timestamp(), token.timestamp() - OFF
    return max(when for when in (*times, 0) if when <= time.time())


def be_alive(line, seconds):
    end = time.time() + seconds
    while (left := end - time.time()) > 0:
        time.sleep(min(left, 0.1))
        line.seen = time.time()
        line.save(update_fields=["seen"])


def work(row, line, mark):
    """Touch no database: the library's next write is the first after the fault."""
    be_alive(line, row.seconds)
    row.mark = mark


def saves(row, line, mark):
    """Write the row in every way that a handler has."""
    rows = type(row).objects.filter(pk=row.pk)
    row.mark = mark + " early"
    row.save()
    be_alive(line, row.seconds)
    rows.update(other=F("other") + 1)
    row.refresh_from_db(fields=["other"])
    row.mark = mark + " late"
    row.save(update_fields=["mark"])
    with transaction.atomic():
        row.mark = mark
        row.save()
    row.refresh_from_db()


def slow_once(row, line, mark):
    """Be slower than the lease, the first time that the row runs."""
    from .models import Ledger

    steps = Ledger.objects.filter(row=line.row, what="step")
    first = not steps.exclude(token=line.token).exists()
    be_alive(line, row.do_task_timeout + 2 if first else row.seconds)
    row.mark = mark
