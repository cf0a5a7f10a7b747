"""The words of the pages: links lead somewhere, nothing that there is goes unsaid."""

import re
from pathlib import Path

import pytest

from simpletask2_celery import exceptions
from tests.pages import reference
from tests.support import pages
from tests.support.fixtures import ROOT
from tests.support.pages import PAGES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page):
    for link in pages.links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} has a link to {link}"
        if anchor:
            assert anchor in pages.anchors(target), f"{page.name} has a link to {link}"


def test_every_page_is_on_the_map():
    index = ROOT / "docs/index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in pages.links(index)}
    assert {page for page in PAGES if index.parent in page.parents} - {index} <= linked


def test_every_code_has_its_line():
    page = (ROOT / "docs/operate/troubleshooting.md").read_text()
    for code in exceptions.MESSAGES:
        assert f"\n| {code} | " in page


def test_every_check_has_an_id_of_its_own_and_its_line():
    package = Path(exceptions.__file__).parent
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    ids = re.findall(r'id="simpletask2_celery\.([EW]\d{3})"', code)
    assert len(ids) > 20 and sorted(ids) == sorted(set(ids))
    page = (ROOT / "docs/reference/checks.md").read_text()
    assert re.findall(r"^\| `([EW]\d{3})` \| [^|]{20,} \| [^|]{8,} \|$", page, re.M) == sorted(ids)


def test_the_reference_is_what_the_docstrings_say():
    written = (ROOT / "docs/reference/reference.md").read_text()
    assert written == reference.text(), "run: python -m tests.pages.reference"
