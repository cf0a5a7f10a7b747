"""The published originals, in environments of their own: what ours must live beside.

Installed from PyPI once a machine and Python version, into pytest's cache folder.
"""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".pytest_cache" / "originals"
#: Their sdists import pkg_resources, which setuptools no longer has.
BUILD = ["setuptools<81", "wheel"]
WEB = [
    "django-simpletask2==0.1.12",
    "django-simpletask2-server==0.1.1",
    "Django~=5.2.0",
    "psycopg[binary]",
    "pymysql",
]
OLD_SERVER = ["django-simpletask2-server==0.0.6"]


def web_python():
    """Return the Python that has django-simpletask2 0.1.12 and its server 0.1.1."""
    return _environment("web", WEB) / "python"


def served_python():
    """Return a Python that has them and gunicorn."""
    return _environment("served", [*WEB, "gunicorn"]) / "python"


def server(version):
    """Return the program django-simpletask2-server, "0.1.1" or "0.0.6"."""
    if version == "0.1.1":
        return _environment("web", WEB) / "django-simpletask2-server"
    return _environment("old-server", OLD_SERVER) / "django-simpletask2-server"


def environ(**more):
    """Return an environment in which the original imports itself and the tests only."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def _environment(name, packages):
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / f"{name}-{sys.version_info.major}.{sys.version_info.minor}"
    complete = folder / "complete"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            _run(sys.executable, "-m", "venv", "--clear", folder)
            install = [folder / "bin/python", "-m", "pip", "install"]
            _run(*install, *BUILD)
            _run(*install, "--no-build-isolation", *packages)
            complete.touch()
    return folder / "bin"


def _run(*command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
