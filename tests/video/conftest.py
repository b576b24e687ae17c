"""The shipped detector, loaded once for all tests of what is shown."""

import functools

import pytest

from xaifake.detector import Detector


@pytest.fixture(scope="package")
def load_once():
    return functools.cache(Detector.pretrained)


@pytest.fixture
def loaded(load_once, monkeypatch):
    monkeypatch.setattr(Detector, "pretrained", load_once)
