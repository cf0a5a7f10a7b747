"""Fixtures: headless Chromium at the test's own server, signed in to the admin.

A test that takes ``page`` or ``open_page`` sees pages as a person does. It is skipped
where there is no Chromium, unless REQUIRE_BROWSER=1 says that it must not be.
WRITE_SCREENSHOTS=1 renews the pictures of docs/screenshots.
"""

import os
import shutil
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.fixtures import ALIASES, ROOT, folder

NAMES = ["chromium", "chromium-browser", "google-chrome"]
#: What Chromium shall do without. The popup of the address bar is a page of its own, and
#: takes a second of CPU for each context. A spare renderer is started for each page.
OFF = ["WebUIOmniboxPopup", "WebUIOmniboxAimPopup", "SpareRendererForSitePerProcess"]
#: What Playwright's own list has off. Only the last list counts, which is ours.
OFF += [
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
]
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(OFF)}",
]
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
#: Milliseconds in which a page must come to what is waited for: on a busy machine, too.
PATIENCE = 30_000


def pytest_collection_modifyitems(items):
    """Give each test of a page its databases, and the mark "browser"."""
    for item in items:
        if "open_page" in item.fixturenames:
            both = pytest.mark.django_db(transaction=True, databases=ALIASES)
            item.add_marker(both)
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser():
    """One Chromium for the tests of a module.

    It cannot live longer. Playwright's event loop runs in this thread as long as it does,
    and ``asyncio.run`` and ``async_to_sync`` of other tests would refuse to work there.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        text = f"no browser: none of {', '.join(NAMES)} is on PATH"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(text)
        pytest.skip(text)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    # Playwright keeps an event loop in this thread, where Django then refuses queries.
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        chromium = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser, live_server, admin_client):
    """Open pages, each in a window of its own, signed in as a superuser.

    ``signed_in=False`` opens one of a stranger; the other options are Playwright's of a
    context (``color_scheme="dark"``, ``viewport=PHONE``). A path is enough for ``goto``.
    At the end no page may have had an error of JavaScript.
    """
    contexts, errors = [], []

    def open_one(signed_in=True, **options):
        options = {"viewport": DESKTOP, "locale": "en", **options}
        context = browser.new_context(base_url=live_server.url, **options)
        contexts.append(context)
        if signed_in:
            name = settings.SESSION_COOKIE_NAME
            value = admin_client.cookies[name].value
            context.add_cookies([{"name": name, "value": value, "url": live_server.url}])
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def page(open_page):
    """A window of a desktop, signed in as a superuser."""
    return open_page()


def assert_accessible(page, within=None):
    """Fail where axe-core finds a serious or critical violation.

    ``within`` is the part of the page to look at, as a context of axe-core; all of it by
    default.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.context.set_offline(True)  # a page that refreshes itself would change meanwhile
    found = Axe().run(page, context=within).response["violations"]
    page.context.set_offline(False)
    serious = [
        f"{one['id']}: {one['help']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert not serious, "\n".join(serious)


def screenshot(page, name, **options):
    """Write a picture ``name``.png, into docs/screenshots where asked to; its path.

    ``options`` are Playwright's (``full_page=True``, ``clip``).
    """
    wanted = os.environ.get("WRITE_SCREENSHOTS") == "1"
    path = (ROOT / "docs" if wanted else Path(folder())) / "screenshots" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, animations="disabled", **options)
    return path
