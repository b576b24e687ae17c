"""Public names of the last version work for one release, and warn."""

from operator import attrgetter

import pytest

import xaifake.data
import xaifake.detector
import xaifake.explainers
import xaifake.judge
from xaifake.data.dataset import load_faces, read_manifest
from xaifake.lazy import renamed_arguments
from xaifake.runs import read_parquet

NAMES = {
    "detector.TwinTest": "detector.PairedTest",
    "detector.found_fakes": "detector.top_true_positives",
    "detector.load_detector": "detector.Detector.pretrained",
    "detector.predict_logits": "detector.Detector.logits",
    "detector.sample_found_fakes": "detector.sample_true_positives",
    "detector.twin_test": "detector.paired_test",
    "explainers.describe_depth": "explainers.activation_statistics",
    "judge.causal_maps": "judge.patch_effects",
    "judge.put_back": "judge.restore_cells",
}


@pytest.mark.parametrize("former", NAMES)
def test_a_former_name_gives_the_same_and_warns(former):
    now = NAMES[former]
    with pytest.warns(FutureWarning, match=f"xaifake.{former} is xaifake.{now} now"):
        assert attrgetter(former)(xaifake) == attrgetter(now)(xaifake)


def test_a_former_argument_is_handed_on_and_warned_of():
    @renamed_arguments(twins="originals")
    def function(first, originals=None):
        return first, originals

    with pytest.warns(FutureWarning, match=r"function\(twins=\) is function\(originals=\) now"):
        assert function(1, twins=2) == (1, 2)
    assert function(1, originals=2) == (1, 2)


@pytest.mark.parametrize(
    ("call", "former"),
    [
        (xaifake.data.extract_faces, "twins"),
        (xaifake.detector.train, "faces"),
        (xaifake.judge.judge, "faces"),
    ],
)
def test_functions_take_former_arguments(call, former):
    with pytest.warns(FutureWarning, match=f"{call.__name__}.{former}=.* now"):
        with pytest.raises(TypeError, match="missing|unexpected"):
            call(**{former: "x", "no_such_argument": 1})


def test_a_folder_of_the_last_version_is_read_under_todays_names():
    from xaifake.data.dataset import FACES

    stored = read_parquet(FACES / "manifest.parquet").column_names
    assert "parent" in stored and "original" not in stored
    assert "original" in read_manifest(FACES) and "parent" not in read_manifest(FACES)
    faces = load_faces()
    with pytest.warns(FutureWarning, match="Faces.twins is Faces.originals now"):
        assert faces.twins is faces.originals
