"""The browser of the tests: it signs in, and its checks can fail."""

import pytest

from tests.support.browser import assert_accessible, screenshot


def test_the_admin_opens_signed_in_and_styled(page):
    page.goto("/admin/")
    assert "Site administration" in page.title()
    assert page.locator("#site-name").is_visible()
    colour = "getComputedStyle(document.querySelector('#header')).backgroundColor"
    assert page.evaluate(colour) != "rgba(0, 0, 0, 0)"  # the static files are there


def test_a_stranger_is_asked_to_sign_in(open_page):
    page = open_page(signed_in=False)
    page.goto("/admin/")
    assert page.locator("input[name=password]").is_visible()


def test_what_cannot_be_read_is_found(page):
    page.goto("/admin/")
    assert_accessible(page)
    page.evaluate("document.querySelector('#content').innerHTML += '<img src=x>'")
    with pytest.raises(AssertionError, match="image-alt"):
        assert_accessible(page)


def test_a_screenshot_is_a_picture(page, monkeypatch):
    monkeypatch.delenv("WRITE_SCREENSHOTS", raising=False)
    page.goto("/admin/")
    assert screenshot(page, "admin").read_bytes().startswith(b"\x89PNG")
