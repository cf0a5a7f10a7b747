"""The run in words: tables for the screen and docs/evidence/performance.md, and the chart."""

import datetime
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import chart
from tests.benchmarks.systems import SYSTEMS
from tests.benchmarks.targets import TARGETS

DOCS = Path(__file__).parent.parent.parent / "docs/evidence"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
TARGETS_HEAD = ["target", "aim", "this run", "", "the best there is"]
PACKAGES = (
    "Django",
    "celery",
    "kombu",
    "redis",
    "psycopg",
    "procrastinate",
    "django-tasks-db",
)
#: heading, figure, format
COLUMNS = [
    ("enqueue, rows/s", "enqueue", "{:.0f}"),
    ("drain, rows/s", "drain", "{:.0f}"),
    ("latency p50, ms", "p50", "{:.1f}"),
    ("p95, ms", "p95", "{:.1f}"),
    ("queries a row", "queries", "{:.1f}"),
    ("memory, MiB", "memory", "{:.0f}"),
    ("CPU s, 1,000 rows", "cpu", "{:.2f}"),
]


def text(results, scales, servers, command):
    """Return all of the run in Markdown."""
    packages = [f"{name} {version(name)}" for name in PACKAGES]
    python = f"Python {platform.python_version()}, {os.cpu_count()} CPUs"
    about = ", ".join([python, *packages, *servers])
    parts = [f"{datetime.date.today()}, `{command}`. {about}."]
    if results:
        parts += [systems_table(results), *problems(results)]
    for name, found in scales.items():
        parts += scale(name, found)
    return "\n\n".join([*parts, targets_table({**results, **scales})])


def systems_table(results):
    head = ["system", *(heading for heading, *_ in COLUMNS)]
    return table(head, [line(SYSTEMS[name].title, results[name]) for name in results])


def line(title, found):
    cells = [form.format(found[figure]) if figure in found else "–" for _, figure, form in COLUMNS]
    return [title, *cells]


def problems(results):
    return [
        f"{SYSTEMS[name].title}: {kind}: {found[key]}"
        for name, found in results.items()
        for key, kind in (("missing", "not there"), ("failed", "failed"))
        if key in found
    ]


def scale(name, found):
    for key, kind in (("missing", "not there"), ("failed", "failed")):
        if key in found:
            return [f"{name}: {kind}: {found[key]}"]
    return [f"**{found['title']}**", table(found["head"], found["lines"])]


def targets_table(found):
    return table(TARGETS_HEAD, [list(target.judge(found)) for target in TARGETS])


def table(head, lines):
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def write_scales(scales, command):
    """Put the tables of these scales, and their targets, in the place of the last ones."""
    document = DOCS / "performance.md"
    text = document.read_text()
    dated = f"\n\n{datetime.date.today()}, `{command}`."
    for name, found in scales.items():
        title, lines = scale(name, found)
        old = re.compile(rf"{re.escape(title)}\n\n(?:\|.*\n)+(?:\n[\d-]+, `python -m .*`\.\n)?")
        place = old.search(text)
        new = f"{title}\n\n{lines}{dated}\n"
        if place is None:  # its first time
            text = text.replace(END, f"\n{new}{END}")
        else:
            text = f"{text[: place.start()]}{new}{text[place.end() :]}"
    document.write_text(_with_targets(text, scales))


def _with_targets(text, scales):
    """Return the text with the lines of the targets that these scales have measured."""
    before = f"{table(TARGETS_HEAD, [])}\n"
    for target in TARGETS:
        cells = target.judge(scales)
        old = re.search(rf"^\| {re.escape(cells[0])} \|.*\n", text, re.M)
        if "not measured" not in cells:
            text = text.replace(old[0], "") if old else text
            new = f"| {' | '.join(cells)} |\n"
            text = text.replace(before, f"{before}{new}", 1)
            before = new
        elif old:
            before = old[0]
    return text


def write(new, results):
    """Put the run between the document's markers, and its chart beside it."""
    document = DOCS / "performance.md"
    before, rest = document.read_text().split(BEGIN)
    _, after = rest.split(END)
    picture = "![Drain rates and latencies](performance.svg)\n\n" if results else ""
    document.write_text(f"{before}{BEGIN}\n{picture}{new}\n{END}{after}")
    if results:
        (DOCS / "performance.svg").write_text(chart.draw(results))
