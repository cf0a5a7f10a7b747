"""One pair of a broker and a database, and faults one after the other on it.

``python -m tests.proofs.faults.lane BROKER DATABASE FOLDER ROWS`` says a line of JSON
about the versions, and one about each fault whose name it reads.
"""

import json
import os
import signal
import sys
import traceback
from contextlib import ExitStack, suppress
from pathlib import Path

import django

LEASE = 4
LIMIT = 400  # seconds of one fault, whatever hangs


def main(broker, database, folder, rows):
    from tests.proofs.faults.servers import BROKERS, DATABASES

    with ExitStack() as stack:
        servers = []
        for kind in (BROKERS[broker], DATABASES[database]):
            servers.append(kind(folder))
            stack.callback(servers[-1].stop)
        set_up(folder, *servers)
        say(versions=[servers[0].version(), database_version()])
        for name in map(str.strip, sys.stdin):
            say(fault=name, **run(name, servers, folder, int(rows)))


def say(**what):
    print(json.dumps(what), flush=True)


def set_up(folder, broker, database):
    os.environ.update(
        FAULTS_FOLDER=str(folder),
        FAULTS_BROKER_URL=broker.url,
        FAULTS_DATABASE_URL=database.url,
        FAULTS_LEASE=str(LEASE),
        DJANGO_SETTINGS_MODULE="tests.proofs.faults.settings",
    )
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    for alias in ("default", "ledger"):
        call_command("migrate", run_syncdb=True, database=alias, verbosity=0)
    with connection.cursor() as cursor:
        for table in ("job", "steps", "durable", "asking"):
            for statement in TRIGGERS[connection.vendor]:
                cursor.execute(statement.format(table=table))


WRITE = (
    "INSERT INTO shop_write (row, mark, token, status) "
    "{select} 'shop.{{table}}:' || old.id, new.mark, old.start_time, old.status"
)
#: What notes each change of a mark, with what was true before it.
TRIGGERS = {
    "sqlite": [
        "CREATE TRIGGER note_{table} AFTER UPDATE OF mark ON shop_{table} "
        "WHEN new.mark <> old.mark BEGIN " + WRITE.format(select="SELECT") + "; END"
    ],
    "postgresql": [
        "CREATE FUNCTION note_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        + WRITE.format(select="SELECT").replace("(row,", '("row",')
        + "; RETURN NULL; END $$",
        "CREATE TRIGGER note_{table} AFTER UPDATE ON shop_{table} FOR EACH ROW "
        "WHEN (new.mark <> old.mark) EXECUTE FUNCTION note_{table}()",
    ],
    "mysql": [
        "CREATE TRIGGER note_{table} AFTER UPDATE ON shop_{table} FOR EACH ROW "
        "INSERT INTO shop_write (`row`, mark, token, status) SELECT "
        "concat('shop.{table}:', old.id), new.mark, old.start_time, old.status "
        "FROM DUAL WHERE new.mark <> old.mark"
    ],
}


def database_version():
    from django.db import connection

    if connection.vendor == "sqlite":
        return "SQLite " + connection.Database.sqlite_version
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        version = cursor.fetchone()[0]
    return version.split(" on ")[0] if "PostgreSQL" in version else f"MariaDB {version}"


def clear(broker):
    """Leave nothing of an earlier fault: its processes are dead by now."""
    from tests.proofs.faults.shop.models import TASKS, Effect, Ledger, Write

    broker.flush()
    for model in (*TASKS, Effect, Ledger, Write):
        model.objects.all().delete()


def run(name, servers, folder, rows):
    """Run one fault; return its numbers, or what went wrong with the run itself."""
    from tests.proofs.faults.count import count
    from tests.proofs.faults.rig import Rig
    from tests.proofs.faults.scenarios import FAULTS

    own = Path(folder, name)
    own.mkdir()
    rig = Rig(*servers, own, rows)
    signal.alarm(LIMIT)
    try:
        clear(servers[0])
        FAULTS[name].strike(rig)
        seconds = rig.finish()
        return {**count(), "seconds": round(seconds, 1), "restarted": rig.restarted}
    except Exception:
        with suppress(Exception):
            return {**count(), "broken": traceback.format_exc(limit=-3)}
        return {"broken": traceback.format_exc(limit=-3)}
    finally:
        signal.alarm(0)
        rig.stop()


def give_up(number, frame):
    """End as by an exception, so that servers and processes are stopped."""
    if number == signal.SIGALRM:
        raise TimeoutError(f"The fault took longer than {LIMIT} s.")
    sys.exit(f"signal {number}")


if __name__ == "__main__":
    for number in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(number, give_up)
    main(*sys.argv[1:])
