"""The HTTP API is where the original has it."""

from tests.support.http_api import NAMES, url


def test_the_urls_are_the_originals():
    assert [url(name) for name in NAMES] == [f"/django-simpletask2/{n}" for n in NAMES]
