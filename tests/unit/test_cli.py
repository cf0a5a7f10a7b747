"""The command's own words: what it shows, and what it refuses."""

import fcntl
import os
import subprocess
import sys
from importlib import metadata

import pytest
from celery import current_app
from click.testing import CliRunner

import simpletask2_celery
from simpletask2_celery.legacy import supervisor
from simpletask2_celery.legacy.cli import main


def run(*words):
    result = CliRunner().invoke(main, ["-A", "tests.support.project", *map(str, words)])
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


def test_a_worker_of_another_broker_than_the_projects_is_named(monkeypatch):
    start = ("--workspace", "/nowhere", "start")  # which ends there
    with monkeypatch.context() as patch:  # which is over before the tests' broker is asked
        patch.delenv("CELERY_BROKER_URL", raising=False)  # which Celery prefers to the setting
        _, said = run("-r", "redis://:secret@h/1", *start)
        assert "Warning: the worker takes rows from redis://:**@h" in said
        assert "secret" not in said
        assert "Warning" not in run(*start)[1]
        patch.setattr(current_app.conf, "broker_write_url", "redis://h:6379/1")
        assert "Warning" not in run("-r", "redis://h/1?decode_responses=True", *start)[1]
        patch.setattr(current_app.conf, "broker_write_url", "redis://h:6379/2")
        assert "Warning" in run("-r", "redis://h/1", *start)[1]
        patch.setenv("CELERY_BROKER_URL", "redis://h/3")
        assert "Warning" not in run("-r", "redis://h/1", *start)[1]


def test_the_app_is_asked_for():
    result = CliRunner().invoke(main, ["start"])
    assert result.exit_code == 2 and "-A proj" in result.output


def plan_in(folder):
    return supervisor.Plan("p", "s", {"pidfile": "it.pid"}, folder)


def test_a_pidfile_that_is_a_link_is_not_followed(tmp_path):
    other = tmp_path / "something else"
    other.write_text("kept")
    plan = plan_in(tmp_path)
    plan.pidfile.symlink_to(other)
    with pytest.raises(supervisor.Failed, match="cannot be written"):
        with supervisor._locked(plan.pidfile):
            pass
    with pytest.raises(supervisor.Failed, match="cannot be used"):
        supervisor.stop(plan)
    assert other.read_text() == "kept"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_pidfile_of_another_user_is_not_written_to(tmp_path):
    plan = plan_in(tmp_path)
    plan.pidfile.touch()
    os.chown(plan.pidfile, 65534, -1)
    with pytest.raises(supervisor.Failed, match="belongs to another user"):
        with supervisor._locked(plan.pidfile):
            pass


def test_no_process_is_stopped_that_is_no_supervisor(tmp_path):
    plan = plan_in(tmp_path)
    with subprocess.Popen(["sleep", "60"]) as victim, plan.pidfile.open("w") as file:
        file.write(str(victim.pid))
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)  # as whoever may write to the folder can
        with pytest.raises(supervisor.Failed, match="is no supervisor"):
            supervisor.stop(plan)
        assert victim.poll() is None
        victim.kill()


def test_the_version_is_the_packages():
    result = CliRunner().invoke(main, ["--version"])
    assert (
        result.output == f"simpletask2-celery, version {metadata.version('simpletask2-celery')}\n"
    )
    assert simpletask2_celery.__version__ == metadata.version("simpletask2-celery")


def test_the_pidfile_goes_with_its_supervisor_and_a_new_ones_is_left_alone(tmp_path):
    path = plan_in(tmp_path).pidfile
    with supervisor._locked(path):
        assert path.read_text() == str(os.getpid())
    assert not path.exists()
    with pytest.raises(ZeroDivisionError), supervisor._locked(path):
        raise ZeroDivisionError
    assert not path.exists()


SUPERVISOR = """
import sys
from pathlib import Path
from simpletask2_celery.legacy import supervisor

for _ in sys.stdin:
    with supervisor._locked(Path(sys.argv[1])):
        print("locked", flush=True)
        sys.stdin.readline()
"""


def test_what_has_stopped_has_no_pidfile_any_more(tmp_path):
    plan = plan_in(tmp_path)
    command = [sys.executable, "-c", SUPERVISOR, plan.pidfile]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
    with subprocess.Popen(command, **pipes) as process:
        for _ in range(300):
            process.stdin.write(b"lock\n")
            assert process.stdout.readline() == b"locked\n"
            assert supervisor.running(plan) == process.pid
            process.stdin.write(b"end\n")
            while supervisor.running(plan):
                pass
            assert not plan.pidfile.exists()
        process.stdin.close()


def test_a_start_that_has_opened_a_pidfile_which_is_then_removed_makes_a_new_one(
    tmp_path, monkeypatch
):
    path = plan_in(tmp_path).pidfile
    flock, removed = fcntl.flock, []

    def late(file, how):
        if not removed:
            removed.append(path.unlink())
        flock(file, how)

    monkeypatch.setattr(supervisor.fcntl, "flock", late)
    with supervisor._locked(path):
        assert path.read_text() == str(os.getpid())


def test_a_pidfile_in_a_folder_of_somebody_elses_stays_and_is_empty(tmp_path, monkeypatch):
    path = plan_in(tmp_path).pidfile

    def refuse(*args, **kwargs):
        raise PermissionError

    with supervisor._locked(path):
        monkeypatch.setattr(type(path), "unlink", refuse)
    assert path.read_text() == ""


def test_the_pidfile_of_another_supervisor_is_not_removed(tmp_path):
    path = plan_in(tmp_path).pidfile
    with supervisor._locked(path):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"
