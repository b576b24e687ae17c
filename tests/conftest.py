"""A browser for the pages that are tested in one."""

import os

import pytest

from browser import MISSING, find_browser, open_browser


@pytest.fixture(scope="session")
def need_browser():
    """Skip the test where there is no browser, but not in continuous integration."""
    if not find_browser():
        pytest.fail(MISSING) if os.environ.get("CI") else pytest.skip(MISSING)


# Closed with each module: Playwright allows no second one in a process while one is open.
@pytest.fixture(scope="module")
def browser(need_browser):
    with open_browser() as opened:
        yield opened
