"""Rows whose models have mixins of other packages: guards, hooks, histories."""

import json
import subprocess
import sys

import pytest

from tests.support.fixtures import ROOT, environ

DONE, DOING = 30, 20
#: Module: (package, whether it guards saves).
MIXINS = {
    "django_fsm": ("django-fsm-2", True),
    "ool": ("django-optimistic-lock", True),
    "concurrency": ("django-concurrency", True),
    "django_lifecycle": ("django-lifecycle", False),
    "simple_history": ("django-simple-history", False),
    "model_utils": ("django-model-utils", False),
    "polymorphic": ("django-polymorphic", False),
}


def result_of(name):
    command = [sys.executable, "-m", "tests.support.mixins", name]
    done = subprocess.run(command, cwd=ROOT, env=environ(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", MIXINS)
def test_a_row_runs_and_is_saved_as_it_is_without_the_mixin(name):
    package, guards = MIXINS[name]
    found = result_of(name)
    if reason := found.get("unsupported"):
        pytest.skip(f"{package} does not save a plain model on this Django: {reason}")
    assert found["plain"] == [DONE, True, "handler", None]
    if guards:
        status, _, note, error = found["conflict"]
        assert (status, note) == (DOING, "") and "2910010" in error
        assert "lost its claim" not in error  # the guard says what it has found
    status, _, note, error = found["claim lost"]
    assert (status, note) == (DOING, "second") and "lost its claim" in error
    assert found["stale save"][:2] == [DONE, True]
    assert found["own"]
    assert found["checks"] == []
