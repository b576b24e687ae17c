"""The shipped detector, loaded once for all tests of what is shown."""

import functools

import pytest

from xaifake.show import report


@pytest.fixture(scope="package")
def load_once():
    return functools.cache(report.load_detector)


@pytest.fixture
def loaded(load_once, monkeypatch):
    monkeypatch.setattr(report, "load_detector", lambda scale, weights: load_once(scale, weights))
