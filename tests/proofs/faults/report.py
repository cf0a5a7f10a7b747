"""The table of a run, for the screen and for docs/evidence/reliability.md."""

import datetime
import platform
from importlib.metadata import version
from pathlib import Path

from tests.proofs.faults.plan import ZERO
from tests.proofs.faults.scenarios import FAULTS

DOCUMENT = Path(__file__).parents[3] / "docs/evidence/reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEAD = [
    "fault",
    "broker",
    "database",
    "rows",
    "runs",
    "lost",
    "twice",
    "late",
    "effects",
    "doubled",
    "missing",
    "save, s",
    "done, s",
    "verdict",
]
NUMBERS = ("rows", "runs", *ZERO[:3], "effects", *ZERO[3:], "save", "seconds")


def cells(result):
    numbers = [result.get(name, "–") for name in NUMBERS]
    counted = [len(n) if isinstance(n, list) else n for n in numbers]
    name = FAULTS[result["fault"]].name
    return [name, *result["pair"], *map(str, counted), result["verdict"]]


def line(result):
    return " | ".join(cells(result))


def details(result):
    """Return the rows behind each number that must be 0, and what broke the run."""
    named = [f"  {what}: {', '.join(result[what][:5])}" for what in ZERO if result.get(what)]
    return "\n".join([*named, *filter(None, [result.get("broken")])])


def table(results):
    order = list(FAULTS)
    results = sorted(results, key=lambda r: (order.index(r["fault"]), r["pair"]))
    rows = [HEAD, ["---"] * len(HEAD), *(cells(result) for result in results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def versions(results):
    """Return the versions: Python's and the packages', and what the servers said."""
    own = [f"Python {platform.python_version()}"]
    for name in ("Django", "celery", "kombu", "redis", "psycopg", "PyMySQL"):
        own.append(f"{name} {version(name)}")
    servers = sorted({one for result in results for one in result.get("versions", [])})
    return ", ".join(own + servers)


def text(results, missing, command):
    held = sum(result["held"] for result in results)
    absent = "; ".join(f"{name}: {reason}" for name, reason in sorted(missing.items()))
    parts = [
        f"{datetime.date.today()}, `{command}`: {held} of {len(results)} held. {versions(results)}."
    ]
    if absent:
        parts.append(f"Left out on this machine: {absent}.")
    return "\n\n".join([*parts, table(results)])


def write(results, missing, command):
    """Put the table between the document's markers."""
    before, rest = DOCUMENT.read_text().split(BEGIN)
    _, after = rest.split(END)
    new = text(results, missing, command)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{new}\n{END}{after}")
