"""The checks of one verdict, against what is known of the maps, the regions and the experiment."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from xaifake import explain
from xaifake.data.faces import Face
from xaifake.errors import UserError
from xaifake.explainers.registry import METHODS as METHODS_OF_EXPLAIN
from xaifake.judge import faithfulness
from xaifake.judge.localisation import BASELINES, region_masks
from xaifake.video import case_report as module
from xaifake.video.case_report import (
    METHODS,
    agreement,
    as_faces,
    check_aligned,
    count_maps,
    count_passes,
    deciding_frames,
    find_configs,
    report_case,
    right_places,
    share_of_evidence,
)
from xaifake.video.tracks import FaceDetection

CONFIGS = find_configs(["gradient (absolute)", "input_t_gradient", "grad_cam"])


@pytest.fixture(scope="module")
def detector(shipped_detector):
    return shipped_detector(2.0)


@pytest.fixture(scope="module")
def shipped(detector, shipped_faces):
    """Two frames of a whole-face fake that the detector finds, with originals."""
    faces = shipped_faces(2.0)
    fakes = faces[(faces.labels == 1) & (faces.table.region == "whole").to_numpy()]
    logits = detector.logits(fakes.images)
    video = fakes.table.video[int(np.argmax(logits))]
    return fakes[(fakes.table.video == video).to_numpy()]


def sightings_of(faces):
    return [
        FaceDetection(
            int(row.frame),
            row.frame / 25,
            Face((0, 0, 1, 1), np.reshape(row.landmarks, (68, 2))),
            (row.left, row.top, row.side),
            image,
            b"",
        )
        for image, row in zip(faces.images, faces.table.itertuples(), strict=True)
    ]


@pytest.fixture(scope="module")
def faces(shipped):
    return as_faces(sightings_of(shipped), 2.0, shipped.originals)


@pytest.fixture(scope="module")
def examined(detector, faces):
    return report_case(detector, faces, 1, CONFIGS)


def test_sightings_become_faces_with_the_same_regions_and_masks(faces, shipped):
    for name, mask in region_masks(faces).items():
        np.testing.assert_array_equal(mask, region_masks(shipped)[name])
    # The mask is where the original differs: nearly all of it lies in the true one.
    assert (faces.masks & shipped.masks).sum() > 0.9 * faces.masks.sum() > 0
    assert as_faces(sightings_of(shipped), 2.0).originals is None


def test_the_maps_are_those_of_explain(detector, faces, examined):
    relevance = explain(detector, faces.images, "input_t_gradient", progress=False).sum(-1)
    np.testing.assert_allclose(
        examined.maps["input_t_gradient"], relevance, atol=1e-4 * np.abs(relevance).max()
    )
    assert list(examined.maps) == [config.name for config in CONFIGS]


def test_a_verdict_of_real_is_explained_as_real(detector, faces):
    examined = report_case(detector, faces[:1], -1, CONFIGS)
    fake = report_case(detector, as_faces_without_originals(faces[:1]), 1, CONFIGS)
    assert (examined.maps["grad_cam"] <= 0).all()
    assert (examined.maps["gradient (absolute)"] >= 0).all()
    np.testing.assert_allclose(
        examined.maps["input_t_gradient"], fake.maps["input_t_gradient"], atol=1e-6
    )


def as_faces_without_originals(faces):
    from dataclasses import replace

    return replace(faces, originals=None)


def test_shares_of_the_evidence_are_a_whole(examined, faces):
    table = examined.regions
    assert table["even"].sum() == pytest.approx(1)
    for method in examined.maps:
        assert table[method].sum() == pytest.approx(1)
    flat = {"flat": np.ones(faces.images.shape[:3])}
    spread = share_of_evidence(flat, faces, 1)
    np.testing.assert_allclose(spread.flat, spread.even)
    nose = {"nose": region_masks(faces)["nose"].astype(float)}
    assert share_of_evidence(nose, faces, 1)["nose"].tolist() == [0, 1, 0, 0, 0]
    assert share_of_evidence({"none": -nose["nose"]}, faces, 1)["none"].isna().all()
    assert share_of_evidence({"none": -nose["nose"]}, faces, -1)["none"]["nose"] == 1


def test_a_map_agrees_with_itself_and_a_planted_reverse_does_not():
    one = np.random.default_rng(0).random((2, 128, 128))
    table = agreement({"one": one, "same": 3 * one + 1, "reverse": -one})
    assert table.set_index(["one", "other"]).rank_correlation.round(6).to_dict() == {
        ("one", "same"): 1, ("one", "reverse"): -1, ("same", "reverse"): -1
    }  # fmt: skip
    assert agreement({"one": one}).empty


def test_stability_has_every_method_and_change_and_no_more_than_the_ceiling(examined):
    table = examined.stability
    assert set(table.kind) == {"blur", "rotation"} and len(table) == 2 * len(CONFIGS)
    blur = table[table.kind == "blur"]
    assert (blur.ceiling == 1).all() and (blur.correlation > 0).all()
    assert set(examined.probabilities) == {"none", "blur", "rotation"}


def test_putting_back_is_the_experiment_of_chapter_10(detector, faces, examined):
    found = examined.restored
    logits = detector.logits(np.concatenate([faces.images[:1], faces.originals[:1]]))
    assert found.gap == pytest.approx(logits[0] - logits[1], abs=1e-3)
    eyes = region_masks(faces[:1])["eyes"][..., None]
    real_eyes = detector.logits(np.where(eyes, faces.originals[:1], faces.images[:1]))
    assert found.regions["eyes"] == pytest.approx(expit(real_eyes[0]), abs=1e-3)
    assert found.methods["experiment"] < found.methods["chance"]
    assert found.probability > 0.5 > found.original
    effects = faithfulness.patch_effects(detector, faces[:1], progress=False)
    cells = faithfulness.cell_sums(found.effect[None])
    np.testing.assert_allclose(cells, effects.effect, atol=1e-3)


def test_a_parent_that_lies_elsewhere_is_refused(faces):
    from dataclasses import replace

    check_aligned(faces)
    with pytest.raises(UserError, match="pixel by pixel"):
        check_aligned(replace(faces, originals=np.roll(faces.originals, 9, axis=2)))


def test_finished_maps_are_not_made_again(detector, faces):
    kept, made = {}, []

    def keep(name, make):
        if name not in kept:
            made.append(name)
            kept[name] = make()
        return kept[name]

    done = []
    first = report_case(detector, faces, 1, CONFIGS[:1], keep, lambda e, n: done.append(n))
    again = report_case(detector, faces, 1, CONFIGS[:1], keep)
    assert len(made) == len(set(made)) == 2  # the maps and the experiment
    assert sum(done) == count_maps(len(faces))
    np.testing.assert_array_equal(
        first.maps["gradient (absolute)"], again.maps["gradient (absolute)"]
    )


@pytest.mark.parametrize(
    ("logits", "expected"), [([3.0, -1.0, 4.0], [2, 0]), ([-3.0, 1.0, -4.0], [2, 0]), ([0.5], [0])]
)
def test_the_frames_that_decided_lie_furthest_on_the_side_of_the_verdict(logits, expected):
    assert deciding_frames(np.array(logits), 2).tolist() == expected


def test_methods_are_found_by_name_and_their_cost_is_known(monkeypatch):
    configs = find_configs(METHODS)
    assert [config.name for config in configs] == list(METHODS)
    assert all(passes > 0 for passes in count_passes(configs).values())
    with pytest.raises(UserError, match="No method 'magic'"):
        find_configs(["magic"])
    monkeypatch.setitem(METHODS_OF_EXPLAIN, "mine", None)  # one's own has been measured by nobody
    with pytest.raises(UserError, match="No method 'mine'"):
        find_configs(["mine"])
    with pytest.raises(UserError, match="No method is given"):
        find_configs([])


def test_right_places_are_counted_and_a_method_below_a_blind_map_failed(monkeypatch):
    rows = [("a", 5, 10), ("a", 9, 10), ("a", 4.9, 10), ("mean mask", 6, 10), ("mean mask", 6, 13)]
    rows += [(name, 0, 10) for name in BASELINES if name != "mean mask"] + [("b", 1, 10)]
    table = pd.DataFrame(rows, columns=["method", "logit_drop_10", "gap"]).assign(scale=2.0)
    other = table.assign(scale=1.3, logit_drop_10=table.gap)
    monkeypatch.setattr(module, "judged", lambda name: pd.concat([table, other]))
    found = right_places(2.0)
    assert found.loc["a"].to_dict() == {"right": 2, "tried": 3, "blind": 1, "failed": False}
    assert found.loc["b"].to_dict() == {"right": 0, "tried": 1, "blind": 1, "failed": True}
