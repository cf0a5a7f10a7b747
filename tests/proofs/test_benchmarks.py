"""The benchmark runs and reports, in small; what it measures is no test's business."""

import os
import subprocess
import sys

import pytest
import redis

from tests.support.fixtures import ROOT

pytest.importorskip("procrastinate", reason="needs the bench extra")
pytest.importorskip("psutil", reason="needs the bench extra")

from tests.benchmarks import report  # noqa: E402  which needs both

ON_POSTGRESQL = pytest.mark.skipif(
    os.environ["TEST_DATABASE_URL"].startswith("mysql"), reason="measures on PostgreSQL"
)


def quick(*names):
    """Run the benchmark in small, which leaves no message behind; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if os.environ["TEST_BROKER_URL"].startswith("redis"):
        client = redis.from_url(os.environ["TEST_BROKER_URL"])
        assert client.keys(f"{os.environ['TEST_RUN']}.[0-9]*") == []
    return done.stdout


@ON_POSTGRESQL
def test_a_quick_run_reports_both_systems():
    out = quick("ours", "a")
    for system in ("simpletask2_celery", "(a) Celery task by hand"):
        (line,) = [ln for ln in out.splitlines() if ln.startswith(f"| {system} |")]
        figures = [float(cell) for cell in line.strip("|").split("|")[1:] if "–" not in cell]
        assert len(figures) >= 6 and min(figures) > 0, line


@ON_POSTGRESQL
@pytest.mark.parametrize(
    ("names", "titles"),
    [
        (["saves", "bulk", "memory"], ["Rows saved and", "1,000 rows at once", "`publish_many("]),
        (["aging", "watching", "imports"], ["A table with", "What the dashboard", "`django.setup"]),
        (["proxies", "limits"], ["50 proxy steps", "What is left"]),
        (["egress"], ["50 requests of a second"]),
        (["function_tasks"], ["A function of Django's Tasks"]),
        (["resets"], ["`Model.do_auto_reset()`"]),
    ],
)
def test_each_scale_is_measured(names, titles):
    out = quick(*names)
    for title in titles:
        _, found, table = out.partition(f"**{title}")
        assert found, out
        assert table.partition("\n\n")[2].startswith("| "), table


PAGE = f"""before
{report.BEGIN}
old

**One (medians)**

| a | b |
| --- | --- |
| 1 | 2 |

**Two**

| c |
| --- |
| 3 |

{report.table(report.TARGETS_HEAD, [["queries a row", "≤ 2.05", "9", "not met", "–"]])}
{report.END}
after
"""


@pytest.fixture
def page(monkeypatch, tmp_path):
    """A page of figures in the place of the document's."""
    monkeypatch.setattr(report, "DOCS", tmp_path)
    written = tmp_path / "performance.md"
    written.write_text(PAGE)
    return written


def test_a_run_is_written_between_the_marks_and_its_chart_beside_it(page):
    report.write("new", {"ours": {"drain": 500.0, "p50": 5.0}, "a": {"drain": 300.0, "p50": 7.0}})
    before, _, rest = page.read_text().partition(report.BEGIN)
    written, _, after = rest.partition(report.END)
    assert (before, after) == ("before\n", "\nafter\n")
    assert "performance.svg" in written and "new" in written and "old" not in written
    chart = (page.parent / "performance.svg").read_text()
    assert ">500<" in chart and ">7.0<" in chart


def test_scales_alone_take_the_place_of_their_own_tables(page):
    found = {"title": "One (medians)", "head": ["a", "b"], "lines": [[5, 6]], "ratio": 1.0}
    report.write_scales({"aging": found}, "python -m tests.benchmarks --only aging")
    text = page.read_text()
    assert "| 5 | 6 |" in text and "| 1 | 2 |" not in text and "| 3 |" in text
    assert "`python -m tests.benchmarks --only aging`." in text
    assert "| queries a row | ≤ 2.05 | 9 | not met | – |" in text
    assert "| a million rows, times an empty table | ≤ 1.2 | 1 | met | – |" in text
    assert not (page.parent / "performance.svg").exists()
