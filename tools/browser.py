"""The installed Chromium or Chrome, which prints the book and in which its pages are tested."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_A_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
MISSING = f"no Chromium or Chrome found (looked for {', '.join(NAMES)})"


def find_browser():
    """Return the path of an installed browser, or None."""
    return next(filter(None, map(shutil.which, (*NAMES, ON_A_MAC))), None)


@contextmanager
def open_browser():
    """Yield a running browser without a window, Playwright's; a RuntimeError if there is none."""
    path = find_browser()
    if not path:
        raise RuntimeError(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()
