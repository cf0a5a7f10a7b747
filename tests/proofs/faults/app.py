"""The app's process makes rows: ``python -m tests.proofs.faults.app '{"count": 60}'``."""

import json
import os
import signal
import sys
import time

import django
from django.db import DatabaseError, InterfaceError, connection, transaction


def main(count, pause=0.08, what=("work", "saves"), seconds=0.15, copies=1, die_at=None):
    """Create rows of all models; ``die_at`` is the one to die after, unpublished."""
    from tests.proofs.faults.shop.models import Durable, Job, Steps

    order = [Job, Durable, Job, Steps, Durable, Job, Job, Steps]
    for number in range(count):
        model = order[number % len(order)]
        row = model(what=what[number % len(what)], seconds=seconds)
        if model is Steps:
            row.seconds /= 3
        if model is Durable:
            row.seconds /= 2  # three steps within a lease, each long enough to be struck
            row.fails = number % 3 == 0
        create(row, number == die_at)
        for _ in range(copies - 1):
            row.publish()
        time.sleep(pause)


def create(row, die):
    """Save the row, again if the database is away, and note how long that took."""
    from tests.proofs.faults.shop.models import Ledger

    while True:
        began = time.time()
        try:
            with transaction.atomic():
                if die:  # the hooks run in order: this one before the row's own
                    transaction.on_commit(lambda: os.kill(os.getpid(), signal.SIGKILL))
                row.save()
            break
        except (DatabaseError, InterfaceError):
            connection.close()
            row.pk, row._state.adding = None, True
            time.sleep(0.2)
    now = time.time()
    name = row.get_task_info()
    Ledger.objects.create(what="created", row=name, began=began, seen=now, ended=True)


if __name__ == "__main__":
    django.setup()
    main(**json.loads(sys.argv[1]))
