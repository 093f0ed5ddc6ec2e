"""The fixture `chromium`, known to all tests (see tests/conftest.py): one headless browser for the whole run.

There can be one only: Playwright refuses to be begun twice in a process.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright


def find_chromium(playwright: "Playwright") -> str:
    """Return the browser's path; without one tests are skipped, but never in CI."""
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if (path := shutil.which(name)) is not None:
            return path
    if Path(playwright.chromium.executable_path).exists():
        return playwright.chromium.executable_path
    reason = "no Chromium: install one (`apt install chromium` or `playwright install chromium`)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def launch(playwright: "Playwright") -> "Browser":
    """Start the browser, without a window."""
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    return playwright.chromium.launch(executable_path=find_chromium(playwright), args=arguments)


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """A headless browser."""
    # Here, so that tests without a browser do without the package.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()
