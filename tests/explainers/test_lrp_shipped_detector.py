"""LRP on the shipped detector: relevance is conserved, and maps are as large as the logit."""

import numpy as np
import pytest

from small import run_explain
from xaifake.detector import preprocess, top_true_positives

SPENT = ["sum", "bias", "stabiliser", "unassigned"]
PRESET = "lrp.sequential_preset_b_flat"


@pytest.fixture(scope="module")
def detector(shipped_detector):
    return shipped_detector(2.0)


@pytest.fixture(scope="module")
def images(detector, shipped_faces):
    return top_true_positives(detector, shipped_faces(2.0), 4, "whole").images


@pytest.fixture(scope="module")
def explain(detector):
    def explain(images, method, **options):
        # Always with a report: another function would be compiled without.
        return run_explain(detector, images, method, return_report=True, progress=False, **options)

    return explain


@pytest.fixture(scope="module")
def by_preset(explain, images):
    return explain(images, PRESET)


def assert_conserved(report):
    np.testing.assert_allclose(report[SPENT].sum(axis=1), report.logit, rtol=1e-4)


def test_alpha_1_beta_0_conserves(explain, images):
    _, report = explain(images, "lrp.alpha_1_beta_0")
    assert_conserved(report)


def test_alpha_2_beta_1_hands_out_less_than_three_times_the_logit(explain, images):
    _, report = explain(images, "lrp.alpha_2_beta_1")
    assert_conserved(report)
    assert (report["abs_sum"] < 3 * report.logit.abs()).all()


def test_the_z_rule_hands_out_many_times_the_logit(explain, images):
    _, report = explain(images, "lrp.z")
    assert_conserved(report)
    assert (report["abs_sum"] > 20 * report.logit.abs()).all()


def test_the_z_plus_rule_hands_a_fake_nothing_negative(explain, images):
    relevance, report = explain(images, "lrp.z_plus")
    assert (report.logit > 0).all() and relevance.max() > 0
    assert relevance.min() >= 0


def test_the_preset_conserves(by_preset):
    assert_conserved(by_preset[1])


def test_the_preset_gives_the_same_bytes_again(explain, images, by_preset):
    relevance, report = explain(images, PRESET)
    assert np.array_equal(relevance, by_preset[0]) and report.equals(by_preset[1])


def test_the_preset_gives_a_picture_its_map_in_any_company(explain, images, by_preset):
    # Up to rounding: a batch of another size is summed in another order.
    largest = np.abs(by_preset[0]).max(axis=(1, 2, 3), keepdims=True)
    alone = [explain(images[i : i + 1], PRESET)[0] for i in range(4)]
    assert (np.abs(np.concatenate(alone) - by_preset[0]) <= 1e-4 * largest).all()
    turned, _ = explain(images[::-1], PRESET, batch_size=3)
    assert (np.abs(turned[::-1] - by_preset[0]) <= 1e-4 * largest).all()


def test_the_preset_does_not_follow_rounding_errors(explain, images, by_preset):
    noise = np.random.default_rng(0).normal(0, 1e-5, images.shape).astype(np.float32)
    relevance, _ = explain(np.clip(preprocess(images) + noise, -1, 1), PRESET)
    assert not np.array_equal(relevance, by_preset[0])
    for one, other in zip(relevance, by_preset[0]):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.999
