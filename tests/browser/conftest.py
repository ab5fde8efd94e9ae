"""A real browser without a window, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.selenium_manager import SeleniumManager

from tests.browser.pages import emulate, resize, written_page
from tests.debian import install

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
PACKAGES = ("chromium", "chromium-driver")
SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to run as root with it
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory, one_installs: FileLock) -> Iterator[Chrome]:
    """Start Chromium with an empty profile; its console and its requests are logged."""
    with one_installs:
        install("Chromium", [str(CHROMIUM), str(DRIVER)], PACKAGES)
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            SeleniumManager, "binary_paths", lambda *_: pytest.fail("selenium looks for a download")
        )
        driver = Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a report, written once."""
    return written_page(tmp_path_factory.mktemp("study"))


@pytest.fixture
def page(browser: Chrome, path: Path) -> Iterator[Chrome]:
    """The page, as on a desk and freshly loaded; after the test, the console must have been silent."""
    resize(browser, 1280)
    emulate(browser, "light")
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # other tests have other windows
    assert browser.get_log("browser") == []
