"""The shipped detector, loaded once, and a browser for pages that were written."""

import functools
import os

import pytest

from browser import MISSING, find_browser, open_browser
from xaifake.show import report


@pytest.fixture(scope="package")
def load_once():
    return functools.cache(report.load_detector)


@pytest.fixture
def loaded(load_once, monkeypatch):
    monkeypatch.setattr(report, "load_detector", lambda scale, weights: load_once(scale, weights))


@pytest.fixture(scope="package")
def browser():
    if not find_browser():
        pytest.fail(MISSING) if os.environ.get("CI") else pytest.skip(MISSING)
    with open_browser() as opened:
        yield opened
