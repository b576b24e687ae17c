"""The installed Chromium or Chrome, which prints the book and in which its pages are tested."""

import shutil
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_A_MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
MISSING = f"no Chromium or Chrome found (looked for {', '.join(NAMES)})"


def find_browser():
    """The path of an installed browser, or None."""
    found = [path for name in NAMES if (path := shutil.which(name))]
    return found[0] if found else str(ON_A_MAC) if ON_A_MAC.exists() else None


@contextmanager
def open_browser():
    """Yield a running browser without a window, as Playwright's `Browser`.

    Raises
    ------
    RuntimeError
        If none is installed.
    """
    path = find_browser()
    if not path:
        raise RuntimeError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()
