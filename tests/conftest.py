"""What many tests need and one worker makes once: a browser, the shipped detectors and faces."""

import functools
import os
import sys

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


@pytest.fixture(scope="module", autouse=True)
def _forget_networks():
    """Free what is kept of the shipped detectors, which no module's end would free: gigabytes."""
    yield
    if "xaifake.detector.forward" in sys.modules:
        sys.modules["xaifake.detector.forward"].clear_cache()


@pytest.fixture(scope="session")
def shipped_detector():
    """A function that gives the shipped detector of a scale."""
    from xaifake.detector import Detector

    return functools.cache(Detector.pretrained)


@pytest.fixture(scope="session")
def shipped_faces():
    """A function that gives the shipped faces of a scale."""
    from xaifake.data import load_faces

    return functools.cache(lambda scale: load_faces(scale=scale))
