"""Content Credentials are quoted as they were read, and asked of nobody on the network."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from xaifake.video.credentials import content_credentials

# What c2pa-python 0.38 reads of a JPEG that was signed by a key of one's own.
SIGNED = {
    "active_manifest": "urn:1",
    "manifests": {
        "urn:1": {
            "claim_generator_info": [{"name": "Camera <b>x</b>", "version": "1"}],
            "assertions": [
                {"label": "c2pa.hash.data", "data": {}},
                {
                    "label": "c2pa.actions.v2",
                    "data": {
                        "actions": [
                            {
                                "action": "c2pa.created",
                                "digitalSourceType": "http://cv.iptc.org/newscodes/"
                                "digitalsourcetype/digitalCapture",
                            },
                            {"action": "c2pa.cropped"},
                        ]
                    },
                },
            ],
            "signature_info": {"issuer": "Test\nNewsroom"},
        }
    },
}
BARE = {"active_manifest": "urn:1", "manifests": {"urn:1": {}}}


class Unreadable(Exception):
    pass


def read_as(monkeypatch, store, state):
    """Put a c2pa-python there that reads this, and note with what settings it is asked to."""
    asked = []

    def try_create(path, context):
        asked.append(context.settings)
        if isinstance(store, Exception):
            raise store
        reader = SimpleNamespace(json=lambda: json.dumps(store), get_validation_state=lambda: state)
        return None if store is None else reader

    there = ModuleType("c2pa")
    there.C2paError, there.Reader = Unreadable, SimpleNamespace(try_create=try_create)
    there.Settings = SimpleNamespace(from_dict=lambda settings: settings)
    there.Context = lambda settings: SimpleNamespace(settings=settings)
    monkeypatch.setitem(sys.modules, "c2pa", there)
    return asked


@pytest.mark.parametrize(
    ("store", "state", "said"),
    [
        (SIGNED, "Valid", "nobody vouches for the signer"),
        (SIGNED, "Trusted", "on a list of trusted ones"),
        (SIGNED, "Invalid", "was changed after it was signed"),
        (BARE, "Valid", "made with (not said)"),
        (None, None, "carries none"),
        (Unreadable("type is unsupported"), None, "cannot be searched"),
    ],
)
def test_what_was_read_is_told(store, state, said, monkeypatch, tmp_path):
    asked = read_as(monkeypatch, store, state)
    told = content_credentials(tmp_path / "clip.mp4")
    assert said in told
    assert asked == [{"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}]
    if store is SIGNED:
        assert "with Camera <b>x</b> and signed in the name of Test Newsroom" in told
        assert "source: digitalCapture" in told


def test_without_the_package_and_of_a_folder_it_is_said_that_nobody_looked(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert "if the Python package c2pa-python is there" in content_credentials("clip.mp4")
    read_as(monkeypatch, SIGNED, "Valid")
    assert "a folder of pictures carries none" in content_credentials(tmp_path)


def test_c2pa_itself_reads_no_credentials_of_a_picture_without(tmp_path):
    pytest.importorskip("c2pa")
    import cv2
    import numpy as np

    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), np.zeros((64, 64, 3), np.uint8))
    assert "carries none" in content_credentials(path)
