"""What the pages quote of logs is what the package logs."""

import re

from tests.support.fixtures import ROOT

PAGES = ["operate/troubleshooting.md", "move/migrating.md"]
#: Of Celery's and kombu's logs.
OTHERS = {"Unrecoverable error", "task done"}


def quotes():
    """Yield the pieces of the quoted texts in sentences and table rows about a log."""
    for page in PAGES:
        text = (ROOT / "docs" / page).read_text()
        for sentence in re.split(r"(?<=[.?;])\s|\n\n|\n\|", text):
            if re.search(r"\blogs?\b", sentence):
                for quote in re.findall(r'"([A-Za-z][^"`|]+)"', sentence.replace("\n", " ")):
                    yield from re.split(r"\s*…\s*|: 29\d+", quote)


def test_what_is_quoted_is_in_the_package():
    package = "".join(file.read_text() for file in (ROOT / "simpletask2_celery").rglob("*.py"))
    said = re.sub(r'"\s*\n\s*f?"', "", package)  # a text over two lines
    quoted = {quote for quote in quotes() if quote} - OTHERS
    assert {"nothing to do", "is left out"} <= quoted
    assert {quote for quote in quoted if quote not in said} == set()
