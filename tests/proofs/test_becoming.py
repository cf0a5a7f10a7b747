"""A model becomes durable by its base class and a migration, while its rows wait and run."""

import json
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import pytest
from celery import current_app
from django.db import migrations

from tests.proofs.faults.servers import DATABASES
from tests.support.fixtures import ROOT, is_ready, kill, wait_until

READY, DOING, DONE = 10, 20, 30
QUEUE = f"{current_app.conf.task_default_queue}.becoming"
NEW = import_module("tests.proofs.becoming.shop.migrations.0002_durable").Migration


@pytest.fixture(params=DATABASES)
def database(request, tmp_path):
    """The database of the test: a server of its own, or a file."""
    kind = DATABASES[request.param]
    if reason := kind.why_not():
        pytest.skip(reason)
    server = kind(tmp_path)
    yield str(tmp_path / "rows.sqlite3") if server.url == "sqlite" else server.url
    server.stop()


class Project:
    """Processes of both sides, on one database and one queue."""

    def __init__(self, stack, folder, database):
        self.stack, self.folder, self.database = stack, folder, database
        self.number = 0
        self.watcher = self.start("simple", "-m", "tests.proofs.becoming.watch", answers=True)

    def start(self, side, *command, answers=False):
        self.number += 1
        log = self.stack.enter_context((self.folder / f"{self.number}.log").open("w"))
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "tests.proofs.becoming.settings",
                "BECOMING_SIDE": side,
                "BECOMING_FOLDER": str(self.folder),
                "BECOMING_DATABASE": self.database,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if answers else log,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        process.log = Path(log.name)
        self.stack.callback(kill, process)
        for pipe in filter(None, (process.stdin, process.stdout)):
            self.stack.callback(pipe.close)
        return process

    def django(self, side, *command):
        process = self.start(side, "-m", "django", *command)
        assert process.wait(60) == 0, process.log.read_text()

    def celery(self, side, role, *options):
        return self.start(side, "-m", "celery", "-A", "tests.proofs.becoming", role, *options)

    def worker(self, side):
        quick = ("--without-mingle", "--without-gossip", "--prefetch-multiplier", "1")
        process = self.celery(side, "worker", "-c", "2", "-n", f"{side}@%h", "-l", "INFO", *quick)
        wait_until(is_ready(process), 60, process.log)
        return process

    def app(self, side, what="quick"):
        """Start an app that makes such rows."""
        return self.start(side, "-m", "tests.proofs.becoming.produce", what)

    def make(self, side, *whats):
        for what in whats:
            end(self.app(side, what))

    def look(self, *over):
        """Return rows and entries; the leases of the rows ``over`` are over then."""
        print(json.dumps(over), file=self.watcher.stdin, flush=True)
        found = json.loads(self.watcher.stdout.readline())
        return found["order"], found["entry"]

    def rows(self, **values):
        rows, _ = self.look()
        return [row for row in rows if values.items() <= row.items()]

    def runs_of(self, what):
        rows, entries = self.look()
        keys = {row["id"] for row in rows if row["what"] == what}
        return [entry for entry in entries if entry["row"] in keys]

    def wait(self, count, what, **values):
        wait_until(lambda: len(self.rows(**values)) >= count, 60, what)

    def touch(self, name):
        (self.folder / name).touch()


def end(process):
    process.stdin.close()
    assert process.wait(30) == 0, process.log.read_text()


@pytest.fixture
def project(tmp_path, database):
    with ExitStack() as stack:
        yield Project(stack, tmp_path, database)
    with current_app.connection_for_write() as connection:
        connection.default_channel.queue_delete(QUEUE)


def test_the_migration_adds_columns_that_old_code_need_not_know():
    for operation in NEW.operations:
        assert isinstance(operation, migrations.AddField)
        field = operation.field
        assert field.null or field.has_db_default(), operation.name


def test_a_model_becomes_durable_while_its_rows_wait_and_run(project):
    # 1. As it was: old code, some rows in a long handler, others waiting behind them.
    project.django("simple", "migrate", "shop", "0001")
    old = project.worker("simple")
    project.celery("simple", "beat", "-s", project.folder / "schedule", "--pidfile=")
    old_app = project.app("simple")
    project.wait(20, "rows that old code has run", status=DONE)
    project.make("simple", "until go-on", "until go-on")
    wait_until(lambda: len(project.runs_of("until go-on")) == 2, 60, old.log)
    project.wait(5, "rows that wait", status=READY)

    # 2. The migration, beside them; old code goes on with the new table.
    project.django("durable", "migrate", "shop")
    project.django("durable", "makemigrations", "--check", "--dry-run", "shop")
    long = project.rows(what="until go-on")
    assert [row["status"] for row in long] == [DOING, DOING]
    assert "completed_step" in long[0]
    made = len(project.rows())
    project.wait(made + 10, "rows that old code makes in the new table")
    project.touch("until go-on")
    project.wait(made + 10, "rows that old code has run there", status=DONE)

    # 3. New code beside the old.
    new = project.worker("durable")
    new_app = project.app("durable")
    wait_until(lambda: len([e for e in project.runs_of("quick") if e["by"] == "durable"]) > 10)
    end(old_app)

    # 4. The old worker dies in mid-run; new code finds that out, and runs its rows.
    project.make("durable", *["until free"] * 4)
    wait_until(lambda: len(project.runs_of("until free")) == 4, 60, new.log)
    kill(old)
    lost = [entry["row"] for entry in project.runs_of("until free") if entry["by"] == "simple"]
    assert len(lost) == 2
    project.touch("until free")
    rows, _ = project.look(*lost)
    project.make("durable", "again", "again", "again")
    end(new_app)
    wait_until(lambda: project.rows() == project.rows(status=DONE), 60, new.log)
    judge(*project.look(), lost)
    assert "ERROR" not in old.log.read_text() + new.log.read_text()


def judge(rows, entries, lost):
    """Fail unless each row was run by its side, as often as it had to be."""
    runs = Counter(entry["row"] for entry in entries)
    last = {entry["row"]: entry["by"] for entry in entries}
    for row in rows:
        assert row["success"] in (True, 1), row
        assert row["note"] == f"by {last[row['id']]}"
        is_again, is_lost = row["what"] == "again", row["id"] in lost
        assert runs[row["id"]] == 1 + is_again + is_lost, row
        is_new = last[row["id"]] == "durable"
        assert row["attempts"] == is_new + is_again, row
        assert row["lost_attempts"] == is_lost, row
        assert row["completed_step"] == is_new, row
        assert bool(row["worker"] or "") is is_new, row
        errors = row["errors"] or "[]"
        errors = json.loads(errors) if isinstance(errors, str) else errors
        assert len(errors) == is_again, row
    sides = Counter(last.values())
    assert min(sides["simple"], sides["durable"]) >= 10, sides
