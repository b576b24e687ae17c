"""On the shipped detector and faces of unseen people: completeness, and a stored config again."""

import numpy as np
import pytest

from small import run_explain
from xaifake.detector import top_true_positives
from xaifake.explainers.stored import lime_sweep


@pytest.fixture(scope="module")
def detector(shipped_detector):
    return shipped_detector(2.0)


@pytest.fixture(scope="module")
def faces(shipped_faces):
    return shipped_faces(2.0)


@pytest.mark.book
@pytest.mark.parametrize(("baseline", "count"), [("grey", 6), ("original", 4)])
def test_integrated_gradients_are_complete_to_a_hundredth(detector, faces, baseline, count):
    firsts = faces[~faces.table.duplicated("video").to_numpy() & (faces.labels == 1)][:40]
    fakes = firsts[detector.logits(firsts.images) > 0][:count]
    assert len(fakes) == count
    relevance, report = run_explain(
        detector, fakes.images, "integrated_gradients", steps=64, return_report=True,
        baseline=fakes.originals if baseline == "original" else None,
    )  # fmt: skip
    np.testing.assert_allclose(relevance.sum((1, 2, 3)), report["sum"], rtol=1e-3, atol=1e-3)
    difference = report.logit - report.logit_baseline
    error = np.abs(report["sum"] - difference)
    np.testing.assert_allclose(error / np.abs(difference), report.completeness_error, rtol=1e-6)
    if baseline == "original":
        assert (error < 0.01 * np.abs(difference)).all()
    else:
        # To this detector grey is as fake as some of the faces: little difference is left there.
        clear = np.abs(difference) > 5
        assert (error < 0.1).all() and clear.any()
        assert (error < 0.01 * np.abs(difference))[clear].all()


@pytest.mark.book
def test_the_stored_sweep_of_lime_comes_out_again(detector, faces):
    stored = lime_sweep()
    case = stored[(stored.fill == "original") & (stored.num_samples == 50)].iloc[0]
    face = faces[
        np.flatnonzero((faces.table.video == case.video) & (faces.table.frame == case.frame))
    ]
    r2 = [
        run_explain(
            detector, face.images, "lime", segmentation="slic", fill=face.originals, num_samples=50,
            seed=seed, return_report=True,
        )[1].r2[0]
        for seed in (0, 1, 2)
    ]  # fmt: skip
    assert np.mean(r2) == pytest.approx(case.r2, abs=0.02)


def test_found_fakes_are_found_and_of_different_people(detector, faces):
    found = top_true_positives(detector, faces, 4, "whole")
    _, report = run_explain(detector, found.images, "gradient", return_report=True)
    assert (report.logit > 0).all() and (found.labels == 1).all()
    assert found.table.target.nunique() == len(found) == 4
