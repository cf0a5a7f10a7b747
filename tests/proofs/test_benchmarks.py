"""The benchmark runs and reports, in small; what it measures is no test's business."""

import os
import subprocess
import sys

import pytest

from tests.support.fixtures import ROOT

pytest.importorskip("procrastinate", reason="needs the bench extra")
pytest.importorskip("psutil", reason="needs the bench extra")


@pytest.mark.skipif(
    os.environ["TEST_DATABASE_URL"].startswith("mysql"), reason="measures on PostgreSQL"
)
def test_a_quick_run_reports_both_systems():
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", "ours", "a"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for system in ("simpletask2_celery", "(a) Celery task by hand"):
        (line,) = [ln for ln in done.stdout.splitlines() if ln.startswith(f"| {system} |")]
        figures = [float(cell) for cell in line.strip("|").split("|")[1:] if "–" not in cell]
        assert len(figures) >= 6 and min(figures) > 0, line
