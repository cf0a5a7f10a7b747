"""Run Django's tests on one base class and one database; say what fails and should not."""

import os
import re
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from tests.proofs.django_suite import inherent, source

ROOT = Path(__file__).parents[3]
LIMIT = 900  # seconds of one run; it takes 30 to 90
BASES = ("outside", "inside")

_SETTINGS = """
from test_sqlite import *  # Django's own

DATABASES = {databases!r}
"""


def faults(tests, folder, base, databases):
    """Return the tests that fail and should not, with what they say; empty if none does.

    ``tests`` are Django's own, ``folder`` is where they are copied to, ``databases`` are
    Django's settings of "default" and "other".
    """
    source.give_base(tests, folder, base)
    apps = set(source.APPS)
    if base == "inside" or "postgresql" in databases["default"]["ENGINE"]:
        # A third of the time of all; and no view of the admin is in a run.
        apps.remove("admin_views")
    (folder / "suite_settings.py").write_text(_SETTINGS.format(databases=databases))
    call = [sys.executable, "runtests.py", "--settings=suite_settings", "--parallel=1"]
    environment = {
        **{name: value for name, value in os.environ.items() if "DJANGO" not in name},
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
    }
    done = subprocess.run(
        [*call, "--noinput", *sorted(apps)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    ran = re.search(r"^Ran (\d+) tests", done.stderr, re.M)
    assert ran, done.stdout[-3000:] + done.stderr[-3000:]
    print(f"{base}: {ran[0]}")
    assert int(ran[1]) > 2500, ran[0]
    return {
        name: said for name, said in failures(done.stderr).items() if not is_inherent(name, base)
    }


def failures(output):
    """Return {test: what it says} of what unittest prints."""
    found = {}
    for part in output.split("=" * 70 + "\n")[1:]:
        title, _, said = part.partition("\n")
        match = re.match(r"(?:FAIL|ERROR): \S+ \((\S+?)\)(.*)", title)
        found[f"{match[1]}{match[2]}" if match else title] = said
    return found


def is_inherent(name, base):
    """Tell whether a test asks what a task's model cannot do."""
    reasons = [*inherent.REASONS.values()]
    if base == "inside":
        reasons += inherent.IN_RUNS.values()
    return any(fnmatchcase(name, pattern) for some in reasons for pattern in some)
