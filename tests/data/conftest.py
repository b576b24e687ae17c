"""Tiny clips and the faces cut from them, made once for all tests of this folder."""

import pytest
import tiny

from xaifake.data import extract_faces, read_catalogue


@pytest.fixture(scope="session")
def tiny_clips(tmp_path_factory):
    return tiny.write_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def tiny_catalogue(tiny_clips):
    """Six real clips and six fakes; every split has some of both."""
    catalogue = read_catalogue(tiny_clips)
    splits = {"001": "train", "002": "train", "003": "train", "004": "train", "005": "validation"}
    return catalogue.assign(split=catalogue.target.map(splits).fillna("test"))


@pytest.fixture(scope="session")
def tiny_faces(tiny_catalogue, tmp_path_factory):
    """The folder of an undisturbed extraction, and its settings."""
    out = tmp_path_factory.mktemp("faces")
    settings = {"frames_per_video": {"real": 4, "fake": 3}, "originals": True, "progress": False}
    extract_faces(tiny_catalogue, out, workers=2, **settings)
    return out, settings
