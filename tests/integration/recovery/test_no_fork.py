"""Threads of a worker's parent, and the forks of its pool."""

import os
import threading
import time
import warnings
from types import SimpleNamespace

import pytest

from simpletask2_celery.rows import no_fork
from simpletask2_celery.rows.no_fork import NoFork
from tests.support.clock import clock


def fork():
    """Fork; return the seconds that this took."""
    began = clock()
    with warnings.catch_warnings():  # of threads that the child may miss: it ends at once
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if not child:
            os._exit(0)
    took = clock() - began
    os.waitpid(child, 0)
    return took


def inside(seconds):
    """Start a thread that is inside for so long."""
    entered = threading.Event()

    def work():
        with NoFork():
            entered.set()
            time.sleep(seconds)

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(5)
    return thread


def test_threads_do_not_wait_for_each_other(db):
    threads = [inside(1) for _ in range(3)]
    began = clock()
    with NoFork():
        assert no_fork._inside == 4
    assert clock() - began < 0.5
    for thread in threads:
        thread.join()
    assert no_fork._inside == 0


def test_a_fork_waits_for_them_and_not_for_ever(db, monkeypatch):
    thread = inside(1)
    assert fork() >= 0.4
    thread.join()
    monkeypatch.setattr(no_fork, "WAIT", 0.2)
    thread = inside(1.5)
    assert 0.2 <= fork() < 1.4
    thread.join()
    assert fork() < 0.2


@pytest.mark.parametrize(("module", "closed"), [("prefork", 1), ("thread", 0)])
def test_a_pool_is_closed_where_processes_would_inherit_it(monkeypatch, module, closed):
    calls, this_thread = [], threading.current_thread()

    class Connection:
        pool = object()

        def close(self):
            pass

        def close_pool(self):
            if threading.current_thread() is this_thread:  # others may be at work, too
                calls.append(1)

    class All:
        def all(self, initialized_only):
            return [Connection()]

    kind = type("TaskPool", (), {"__module__": f"celery.concurrency.{module}"})
    monkeypatch.setattr(no_fork, "connections", All())
    monkeypatch.setattr(no_fork, "_forks", False)
    no_fork.remember_pool(SimpleNamespace(pool=kind()))
    fork()  # of a handler, say: it says nothing of the pool
    with NoFork():
        pass
    assert len(calls) == closed
