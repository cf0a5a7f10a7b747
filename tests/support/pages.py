"""The pages of the documentation, taken apart: code blocks, links and headings.

What a page's blocks are for is visible in its source:

* a ``python`` block that begins with ``# some/file.py`` (a colon and words may follow) is
  that file of the page's project, up to the next such line; ``settings.py`` is added to;
* any other ``python`` block is typed into that project's ``manage.py shell``, in the order
  of the page;
* a ``shell`` block, or one without a language, is a list of commands;
* ``yaml``, ``ini`` and ``dockerfile`` blocks begin with ``# the/path`` that they are at;
* ``text`` is what a command prints, or a picture.
"""

import re
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

from tests.support.fixtures import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FILE = re.compile(r"^# ([\w/.@-]+\.\w+|Dockerfile)(?::.*)?$", re.MULTILINE)


class Block(NamedTuple):
    """A code block: where it is, its language as it is written, and its text."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def path(self):
        """The path in the block's first line, or None."""
        found = _FILE.match(self.text)
        return found and found[1]

    def files(self):
        """Yield (path, text) of each file in the block."""
        starts = [*_FILE.finditer(self.text)]
        ends = [found.start() for found in starts[1:]] + [len(self.text)]
        for found, end in zip(starts, ends, strict=True):
            yield found[1], self.text[found.start() : end]


def tokens(page):
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


def blocks(page, *languages):
    """Return the page's code blocks, in those languages only if any are named."""
    found = [
        Block(page, token.map[0] + 1, token.info.strip(), token.content)
        for token in tokens(page)
        if token.type in ("fence", "code_block")
    ]
    return [block for block in found if not languages or block.language in languages]


def anchors(page):
    """Return the anchors of a page's headings, as GitHub makes them."""
    every = tokens(page)
    found = []
    for before, token in zip(every, every[1:], strict=False):
        if before.type == "heading_open":
            words = "".join(child.content for child in token.children or ())
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return found


def links(page):
    """Return where the page's links and images lead."""
    found = []
    for token in tokens(page):
        for child in [token, *(token.children or ())]:
            if child.type in ("link_open", "image"):
                found.append(str(child.attrs.get("href") or child.attrs.get("src")))
            elif child.type in ("html_inline", "html_block"):
                found += re.findall(r'(?:href|src)="([^"]+)"', child.content)
    return found


def metrics():
    """Return {name: labels} of the table of metrics on the page about observing."""
    page = (ROOT / "docs/operate/observing.md").read_text()
    lines = re.findall(r"^\| `(simpletask2_\w+)` \| ([^|]+) \|", page, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in lines}
