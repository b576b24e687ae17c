"""Stability is scipy's correlation of the pixels that survive, 1 for what moves perfectly."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr, spearmanr

from xaifake.errors import UserError
from xaifake.judge import Affine, Blur, Noise, rotation, scaling, shear, translation
from xaifake.judge.stability import SETTINGS, compare, interpolation_ceiling, stability

SIZE = 48
MOVING = [p for p in SETTINGS if isinstance(p, Affine)]
STILL = [p for p in SETTINGS if not isinstance(p, Affine)]
COLUMNS = ["correlation", "rank_correlation", "overlap"]


def name(perturbation):
    return f"{perturbation.kind} {perturbation.strength:g}"


def noise(count=2, size=SIZE, seed=0):
    return np.random.default_rng(seed).normal(size=(count, size, size))


def smooth(count=2, size=SIZE, seed=0, sigma=3):
    return gaussian_filter(noise(count, size, seed), (0, sigma, sigma)) * 10


@pytest.mark.parametrize("perturbation", STILL, ids=name)
def test_the_same_map_scores_one_and_its_negative_minus_one(perturbation):
    heatmaps = noise()
    scores = stability(heatmaps, heatmaps, perturbation)
    assert list(scores) == COLUMNS and len(scores) == 2
    np.testing.assert_allclose(scores, 1)
    scores = stability(heatmaps, -heatmaps, perturbation)
    np.testing.assert_allclose(scores, [[-1, -1, 0]] * 2)


@pytest.mark.parametrize("perturbation", MOVING, ids=name)
def test_a_moved_map_that_is_negated_is_as_far_below_zero_as_the_ceiling_is_above(perturbation):
    heatmaps = smooth()
    moved = perturbation.apply(heatmaps[..., None])[..., 0]
    ceiling = interpolation_ceiling(heatmaps, perturbation)
    pd.testing.assert_frame_equal(stability(heatmaps, moved, perturbation), ceiling)
    opposite = stability(heatmaps, -moved, perturbation)
    np.testing.assert_allclose(opposite.iloc[:, :2], -ceiling.iloc[:, :2])
    assert (opposite.overlap == 0).all()


@pytest.mark.parametrize("perturbation", SETTINGS, ids=name)
def test_independent_noise_scores_what_chance_does(perturbation):
    scores = stability(noise(20, 64), noise(20, 64, seed=1), perturbation).mean()
    assert scores.correlation == pytest.approx(0, abs=0.02)
    assert scores.rank_correlation == pytest.approx(0, abs=0.02)
    assert scores.overlap == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("perturbation", SETTINGS, ids=name)
def test_correlations_are_scipys_over_the_pixels_that_survive(perturbation):
    heatmaps, perturbed = smooth(), smooth() + smooth(seed=1)
    back = perturbation.undo(perturbed[..., None])[..., 0]
    kept = perturbation.survives(SIZE, SIZE)
    for n, row in stability(heatmaps, perturbed, perturbation).iterrows():
        pair = heatmaps[n][kept], back[n][kept]
        assert row.correlation == pytest.approx(pearsonr(*pair)[0])
        assert row.rank_correlation == pytest.approx(spearmanr(*pair)[0])


def test_a_shifted_map_is_compared_where_both_overlap():
    heatmaps, perturbed = noise(), noise(seed=1)
    scores = stability(heatmaps, perturbed, translation(5, -3))
    for n, row in scores.iterrows():
        pair = heatmaps[n, 3:, :-5].ravel(), perturbed[n, :-3, 5:].ravel()
        assert row.correlation == pytest.approx(pearsonr(*pair)[0])
        assert row.rank_correlation == pytest.approx(spearmanr(*pair)[0])
        tops = [set(np.argsort(values)[-round(len(values) / 10) :]) for values in pair]
        assert row.overlap == pytest.approx(len(tops[0] & tops[1]) / len(tops[0]))


def test_overlap_is_what_a_hand_counts():
    one = np.arange(30.0)[None]
    other = one.copy()
    other[0, [2, 29]] = other[0, [29, 2]]  # of the top three, 27 and 28 stay
    assert compare(one, other).overlap.tolist() == pytest.approx([2 / 3])
    assert compare(one, -one).overlap.tolist() == [0]
    assert compare(one[:, :4], one[:, :4] ** 2).overlap.tolist() == [1]  # at least one pixel
    both = compare(np.concatenate([one, one]), np.concatenate([one, -one]))
    assert both.overlap.tolist() == [1, 0]


def test_maps_that_agree_on_little_but_zeros_do_not_overlap_by_that():
    # Each has its relevance in a twentieth of the pixels, and they have none of them in common:
    # what fills the tenths up is 0, and which of the zeros should not decide.
    places = np.random.default_rng(0).permutation(2000)
    one, other = np.zeros((2, 1, 2000))
    one[0, places[:100]], other[0, places[100:200]] = 1 + np.random.default_rng(1).random((2, 100))
    assert compare(one, other).overlap[0] <= 0.2


WHOLE_PIXELS = [translation(8), translation(-3, 5), translation(0, 1), rotation(90)]


@pytest.mark.parametrize("perturbation", [*STILL, *WHOLE_PIXELS], ids=name)
@pytest.mark.parametrize("kind", ["noise", "areas"])
def test_what_takes_pixels_to_pixels_has_a_ceiling_of_one(perturbation, kind):
    # LIME's maps are areas of one value: rounding must not put the pixels of an area in an order.
    heatmaps = noise() if kind == "noise" else noise(size=6).repeat(8, axis=1).repeat(8, axis=2)
    tolerance = 1e-6 if perturbation.kind == "rotation" else 1e-12
    ceiling = interpolation_ceiling(heatmaps, perturbation)
    np.testing.assert_allclose(ceiling, 1, rtol=0, atol=tolerance)


def test_interpolation_takes_more_from_noise_than_from_what_is_smooth():
    for perturbation in (rotation(20), scaling(1.1), shear(10), translation(2.5)):
        rough = interpolation_ceiling(noise(), perturbation)
        even = interpolation_ceiling(smooth(), perturbation)
        assert (even.correlation > 0.99).all() and (rough.correlation < 0.95).all()
        assert (rough.overlap < even.overlap).all()


def brightness_method(images):
    """Explain a picture by the square of its brightness, which moves with it."""
    return images.astype(float).mean(axis=-1) ** 2


def local_contrast_method(images):
    """Explain a picture by how bright a place is against what surrounds it, wherever that is."""
    grey = images.astype(float).mean(axis=-1)
    return gaussian_filter(grey, (0, 2, 2)) - gaussian_filter(grey, (0, 4, 4))


def scenes():
    """Return smooth coloured pictures as bytes."""
    patches = np.stack([smooth(3, 96, seed, sigma=4) for seed in range(3)], axis=-1)
    return np.clip(128 + 120 * patches, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "method, perturbation",
    [
        *((brightness_method, p) for p in MOVING),
        (brightness_method, scaling(0.8)),
        (brightness_method, translation(3.5, -2)),
        # Scaling changes what surrounds a place, so that only the others are this method's own.
        *((local_contrast_method, p) for p in (rotation(20), rotation(45), translation(8))),
    ],
    ids=lambda part: part.__name__ if callable(part) else name(part),
)
def test_a_method_that_moves_with_the_picture_reaches_the_ceiling(method, perturbation):
    images = scenes()
    heatmaps, perturbed = method(images), method(perturbation.apply(images))
    reached = stability(heatmaps, perturbed, perturbation)
    ceiling = interpolation_ceiling(heatmaps, perturbation)
    assert (ceiling.correlation > 0.98).all()
    # The local one also sees what comes in from beyond the edge.
    tolerance = 0.02 if method is brightness_method else 0.1
    np.testing.assert_allclose(reached, ceiling, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "perturbation", [rotation(20), rotation(45), translation(8), scaling(1.25)], ids=name
)
def test_a_method_that_always_says_the_same_does_not(perturbation):
    heatmaps = smooth(3, 96, sigma=4)
    scores = stability(heatmaps, heatmaps, perturbation)
    ceiling = interpolation_ceiling(heatmaps, perturbation)
    assert (scores < ceiling - 0.2).all(axis=None)


def test_what_is_the_same_at_every_angle_may_stay_where_it_is():
    far = np.hypot(*(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2))
    heatmaps = np.exp(-((far / 12) ** 2))[None]
    assert (stability(heatmaps, heatmaps, rotation(45)) > 0.97).all(axis=None)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("perturbation", SETTINGS, ids=name)
def test_a_map_that_is_the_same_everywhere_has_no_stability(perturbation):
    for value in (0, 0.1, 1 / 3, 1, -7.3):
        constant = np.full((2, SIZE, SIZE), value)
        for pair in ((constant, noise()), (noise(), constant), (constant, constant)):
            scores = stability(*pair, perturbation)
            assert scores.isna().all(axis=None), f"{value}:\n{scores}"
        assert interpolation_ceiling(constant, perturbation).isna().all(axis=None)


def test_a_constant_map_leaves_the_others_their_scores():
    heatmaps = noise(3)
    heatmaps[1] = 0
    scores = stability(heatmaps, heatmaps, Blur(1))
    np.testing.assert_allclose(scores, [[1] * 3, [np.nan] * 3, [1] * 3])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("factor", [1e30, -1e30, 1e200, 1e-30])
@pytest.mark.parametrize("perturbation", SETTINGS, ids=name)
def test_maps_of_any_size_are_compared(perturbation, factor):
    heatmaps, perturbed = smooth(), smooth() + smooth(seed=1)
    expected = stability(np.sign(factor) * heatmaps, perturbed, perturbation)
    found = stability(factor * heatmaps, abs(factor) * perturbed, perturbation)
    pd.testing.assert_frame_equal(found, expected)


@given(st.floats(1e-30, 1e30), st.floats(1e-30, 1e30), st.sampled_from(SETTINGS))
@settings(max_examples=40)
def test_positive_factors_change_nothing(one, other, perturbation):
    heatmaps, perturbed = smooth(size=32), smooth(size=32) + smooth(size=32, seed=1)
    expected = stability(heatmaps, perturbed, perturbation)
    found = stability(one * heatmaps, other * perturbed, perturbation)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_map_that_is_not_finite_has_no_stability(wrong):
    heatmaps = noise(1)
    broken = heatmaps.copy()
    broken[0, 10, 20] = wrong
    for pair in ((broken, heatmaps), (heatmaps, broken), (broken, broken)):
        scores = stability(*pair, Blur(1))
        assert scores.isna().all(axis=None), scores.to_string()


def test_maps_are_left_as_they_are_and_may_be_of_other_types():
    heatmaps, perturbed = smooth().astype(np.float32), smooth(seed=1).astype(np.float32)
    copies = heatmaps.copy(), perturbed.copy()
    scores = stability(heatmaps, perturbed, rotation(5))
    np.testing.assert_array_equal(copies, (heatmaps, perturbed))
    doubles = [values.astype(float) for values in copies]
    pd.testing.assert_frame_equal(scores, stability(*doubles, rotation(5)))


@pytest.mark.parametrize("one", [(2, 8, 8), (8, 8), (2, 8, 8, 3)], ids=str)
def test_maps_that_do_not_fit_each_other_are_refused(one):
    for other in [(2, 8, 9), (3, 8, 8)] if one == (2, 8, 8) else [one]:
        said = re.escape(f"Maps of shapes {one} and {other}: ") + r".*\(N, H, W\)"
        with pytest.raises(UserError, match=said):
            stability(np.zeros(one), np.zeros(other), Noise(5))
    for perturbation in (Noise(5), rotation(5)) if one != (2, 8, 8) else ():
        with pytest.raises(UserError, match=r"\(N, H, W"):
            interpolation_ceiling(np.zeros(one), perturbation)


@pytest.mark.parametrize(
    "perturbation, left", [(translation(40), 0), (translation(31, 23), 9), (scaling(60), 0)]
)
def test_too_few_pixels_to_compare_are_refused(perturbation, left):
    heatmaps = noise(size=32)
    with pytest.raises(UserError, match=f"Of the picture {left} pixels survive: too few"):
        stability(heatmaps, heatmaps, perturbation)
    with pytest.raises(UserError, match="too few"):
        interpolation_ceiling(heatmaps, perturbation)


def test_ten_pixels_are_enough():
    heatmaps = noise(size=32)
    np.testing.assert_allclose(interpolation_ceiling(heatmaps, translation(31, -22)), 1)
