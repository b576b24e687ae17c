"""Perturbations do what they say to the pixel, and the way back is the exact inverse."""

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings, strategies as st
from scipy.special import expit

from xaifake.data.dataset import Faces
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.judge import (
    Affine,
    Blur,
    Noise,
    perturbation_curve,
    rotation,
    scaling,
    shear,
    translation,
)
from xaifake.judge.perturbations import SCORES

ONE_OF_EACH = [
    Blur(1.5),
    Noise(20),
    rotation(10),
    translation(2.5, -1),
    scaling(0.8),
    shear(20),
    Affine(((1.1, 0.2), (-0.3, 0.9)), (1.5, -2.5)),
]


def scenes(count=2, height=12, width=17, seed=0):
    """Return pictures of noise as float64, where any pixel moved wrongly shows."""
    return np.random.default_rng(seed).uniform(-1, 1, (count, height, width, 3))


def there_and_back(perturbation, images):
    return perturbation.undo(perturbation.apply(images))


def rounded(limit):
    # No place may lie a hair's breadth, the library's 1e-6, from the edge.
    return st.floats(-limit, limit).map(lambda number: round(number, 4))


unit, pixels = rounded(0.4), rounded(3)
affines = st.builds(
    lambda a, b, c, d, right, down: Affine(((1 + a, b), (c, 1 + d)), (right, down)),
    *[unit] * 4,
    pixels,
    pixels,
)


@pytest.mark.parametrize(
    "nothing",
    [Blur(0), Noise(0), rotation(0), translation(0), scaling(1), shear(0)],
    ids=lambda p: p.kind,
)
def test_a_perturbation_of_strength_zero_changes_nothing(nothing):
    images = scenes()
    np.testing.assert_allclose(nothing.apply(images), images, atol=1e-12)
    np.testing.assert_allclose(there_and_back(nothing, images), images, atol=1e-12)
    bytes_ = np.random.default_rng(0).integers(0, 256, (2, 12, 17, 3), dtype=np.uint8)
    np.testing.assert_array_equal(nothing.apply(bytes_), bytes_)
    assert nothing.survives(12, 17).all()


@pytest.mark.parametrize("perturbation", ONE_OF_EACH, ids=lambda p: p.kind)
def test_shape_and_type_are_kept_and_the_pictures_left_alone(perturbation):
    for images in (scenes().astype(np.float32), scenes(), (scenes() * 127 + 128).astype(np.uint8)):
        before = images.copy()
        perturbed = perturbation.apply(images)
        assert perturbed.dtype == images.dtype and perturbed.shape == images.shape
        assert not np.array_equal(perturbed, images)
        np.testing.assert_array_equal(images, before)
    survives = perturbation.survives(12, 17)
    assert survives.dtype == bool and survives.shape == (12, 17)


@pytest.mark.parametrize("perturbation", ONE_OF_EACH, ids=lambda p: p.kind)
def test_pictures_of_a_batch_are_perturbed_each_for_itself_and_one_without_a_batch_not(
    perturbation,
):
    images = scenes(5)
    np.testing.assert_array_equal(perturbation.apply(images)[:2], perturbation.apply(images[:2]))
    with pytest.raises(UserError, match=r"\(12, 17, 3\).*\(N, H, W, C\)"):
        perturbation.apply(images[0])


@pytest.mark.parametrize(
    "perturbation, kind, strength",
    [
        (Blur(1.5), "blur", 1.5),
        (Noise(20, seed=3), "noise", 20),
        (rotation(-30), "rotation", -30),
        (translation(3, 4), "translation", 5),
        (translation(-3, 4), "translation", -5),
        (translation(0, -2), "translation", -2),
        (translation(0), "translation", 0),
        (scaling(0.5), "scaling", 0.5),
        (shear(45), "shear", 45),
    ],
)
def test_kind_and_strength_are_what_was_asked_for(perturbation, kind, strength):
    assert perturbation.kind == kind
    assert perturbation.strength == pytest.approx(strength)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Blur(-1), "sigma=-1: give 0 or more pixels"),
        (lambda: Blur(np.nan), "sigma=nan"),
        (lambda: Noise(-0.1), "sigma=-0.1: give 0 or more"),
        (lambda: scaling(0), "factor=0: give a number above 0"),
        (lambda: scaling(-2), "factor=-2"),
        (lambda: shear(90), "degrees=90: give at most 80"),
        (lambda: shear(-81), "degrees=-81"),
        (lambda: Affine(((1, 2), (2, 4))), "matrix=.*can be inverted"),
        (lambda: Affine(((1, 0), (0, np.nan))), "matrix="),
        (lambda: Affine(((1, 0, 0), (0, 1, 0))), "matrix=.*2 x 2"),
        (lambda: Affine(((1, 0), (0, 1)), (1, 2, 3)), "shift=.*right and down"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("right, down", [(3, -2), (-4, 0), (0, 5), (-1, 1)])
def test_whole_pixels_are_moved_exactly_and_brought_back(right, down):
    images, move = scenes(), translation(right, down)
    height, width = images.shape[1:3]
    moved, back = move.apply(images), there_and_back(move, images)
    expected = np.zeros((height, width), dtype=bool)
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                expected[y, x] = True
                np.testing.assert_allclose(moved[:, y + down, x + right], images[:, y, x])
    np.testing.assert_array_equal(move.survives(height, width), expected)
    np.testing.assert_allclose(back[:, expected], images[:, expected], atol=1e-12)
    assert not back[:, ~expected].any()


def test_what_comes_in_from_the_edge_is_the_pictures_reflection():
    images = scenes()
    moved = translation(3).apply(images)
    np.testing.assert_allclose(moved[:, :, :3], images[:, :, 3:0:-1], atol=1e-12)


def test_half_a_pixel_is_the_mean_of_two_and_costs_both_edges():
    images, move = scenes(), translation(0.5)
    moved = move.apply(images)
    between = (images[:, :, :-1] + images[:, :, 1:]) / 2
    np.testing.assert_allclose(moved[:, :, 1:], between, atol=1e-12)
    expected = np.ones((12, 17), dtype=bool)
    # Pixel 0 would come back from half a reflection, the last one from half of nothing.
    expected[:, [0, -1]] = False
    np.testing.assert_array_equal(move.survives(12, 17), expected)


@pytest.mark.parametrize("size", [8, 9])
def test_positive_quarter_turns_are_clockwise_and_lose_nothing(size):
    images = scenes(height=size, width=size)
    for quarters in (-1, 1, 2, 3):
        turn = rotation(90 * quarters)
        expected = np.rot90(images, -quarters, axes=(1, 2))  # NumPy's turn counter-clockwise
        np.testing.assert_allclose(turn.apply(images), expected, atol=1e-9)
        np.testing.assert_allclose(there_and_back(turn, images), images, atol=1e-9)
        assert turn.survives(size, size).all()


@pytest.mark.parametrize("degrees", [40, -77])
def test_a_disc_turned_about_the_middle_stays_a_disc(degrees):
    far = np.hypot(*(np.mgrid[:48, :48] - 23.5))
    disc = np.clip(16 - far, 0, 1)[None, ..., None]
    change = np.abs(rotation(degrees).apply(disc) - disc)[0, ..., 0]
    assert change[far < 14].max() < 1e-12 and change[far < 20].max() < 0.4  # its rim alone


def test_a_mirror_is_an_affine_transform():
    images = scenes()
    mirror = Affine(((-1, 0), (0, 1)))
    np.testing.assert_allclose(mirror.apply(images), images[:, :, ::-1], atol=1e-12)
    np.testing.assert_allclose(there_and_back(mirror, images), images, atol=1e-12)


def test_what_stood_upright_leans_to_the_left():
    upright = np.zeros((1, 9, 17, 1))
    upright[:, :, 8] = 1
    # By 45 degrees each row goes one pixel further, from the top left to the bottom right.
    leaning = np.zeros((9, 17))
    leaning[:, 4:13] = np.eye(9)
    np.testing.assert_allclose(shear(45).apply(upright)[0, ..., 0], leaning, atol=1e-9)
    np.testing.assert_allclose(shear(-45).apply(upright)[0, ..., 0], leaning[::-1], atol=1e-9)
    lines = np.zeros((1, 9, 9, 1))
    lines[:, 2] = 1
    np.testing.assert_allclose(shear(30).apply(lines), lines, atol=1e-9)


def test_of_a_picture_enlarged_twice_the_inner_half_survives():
    images, enlarge = scenes(height=16, width=16), scaling(2)
    expected = np.zeros((16, 16), dtype=bool)
    expected[4:12, 4:12] = True
    np.testing.assert_array_equal(enlarge.survives(16, 16), expected)
    # Pixel 4 is read halfway between two that are made of (3, 4) and (4, 5), a quarter off.
    rows = (images[:, 3:11] + 6 * images[:, 4:12] + images[:, 5:13]) / 8
    both = (rows[:, :, 3:11] + 6 * rows[:, :, 4:12] + rows[:, :, 5:13]) / 8
    back = there_and_back(enlarge, images)
    np.testing.assert_allclose(back[:, 4:12, 4:12], both, atol=1e-12)


def test_a_picture_reduced_to_half_loses_its_outermost_pixels():
    images, reduce = scenes(height=16, width=16), scaling(0.5)
    small = images.reshape(-1, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(reduce.apply(images)[:, 4:12, 4:12], small, atol=1e-12)
    expected = np.zeros((16, 16), dtype=bool)
    expected[1:15, 1:15] = True
    np.testing.assert_array_equal(reduce.survives(16, 16), expected)


def survivors_by_brute_force(affine, height, width):
    """Follow every pixel to its four neighbours, and each of these back into the picture."""
    matrix, shift = np.array(affine.matrix), np.array(affine.shift)
    middle = np.array([width - 1, height - 1]) / 2
    found = np.zeros((height, width), dtype=bool)
    for y in range(height):
        for x in range(width):
            u, v = matrix @ (np.array([x, y]) - middle) + middle + shift
            left, top = int(np.floor(u)), int(np.floor(v))
            whole = 0
            for column, row in np.ndindex(2, 2):
                i, j = left + column, top + row
                i_back, j_back = np.linalg.solve(matrix, np.array([i, j]) - middle - shift) + middle
                good = 0 <= i < width and 0 <= j < height
                good &= -1e-6 < i_back < width - 1 + 1e-6 and -1e-6 < j_back < height - 1 + 1e-6
                whole += good * (1 - abs(u - i)) * (1 - abs(v - j))
            found[y, x] = whole > 1 - 1e-6
    return found


@given(affines)
@example(scaling(1.05))
@example(rotation(25))
@example(translation(1.3, -2.6))
@example(scaling(1.1))
@example(scaling(1.7))
@example(scaling(0.6))
@example(shear(-35))
@settings(max_examples=25)
def test_survivors_are_those_of_a_brute_force_computation(affine):
    for height, width in ((9, 12), (10, 10)):
        expected = survivors_by_brute_force(affine, height, width)
        np.testing.assert_array_equal(affine.survives(height, width), expected)


@given(affines)
@example(scaling(1.1))
@settings(max_examples=40)
def test_a_survivor_does_not_know_what_lies_beyond_the_edge(affine):
    large, edge = scenes(1, 42, 47), 15
    inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
    alone = there_and_back(affine, large[inner])[0]
    within = there_and_back(affine, large)[inner][0]
    survives = affine.survives(12, 17)
    np.testing.assert_allclose(alone[survives], within[survives], atol=1e-5)


@given(affines, st.tuples(unit, unit, unit))
@settings(max_examples=40)
def test_a_ramp_comes_back_exactly_so_the_way_back_is_the_inverse(affine, slopes):
    # Bilinear interpolation is exact for linear functions; every error would be one of place.
    y, x = np.mgrid[:20, :23] / 20
    ramp = (slopes[0] + slopes[1] * x + slopes[2] * y)[None, ..., None]
    survives = affine.survives(20, 23)
    back = there_and_back(affine, ramp)
    np.testing.assert_allclose(back[0, survives], ramp[0, survives], atol=1e-6)


@given(affines, st.floats(0, 0.5), st.floats(0, 0.5))
@settings(max_examples=40)
def test_a_smooth_picture_comes_back_within_the_bound_of_interpolation(affine, a, b):
    y, x = np.mgrid[:24, :24]
    wave = np.sin(a * x + b * y)[None, ..., None]
    survives = affine.survives(24, 24)
    # Bilinear interpolation of f errs by at most (|f_xx| + |f_yy|) / 8, |f''| / 4. The way back
    # interpolates a picture whose second derivatives are larger by the square of the reduction.
    reduction = np.linalg.norm(np.linalg.inv(affine.matrix), 2)
    bound = (a**2 + b**2) / 4 * (1 + reduction**2)
    error = np.abs(there_and_back(affine, wave) - wave)[0, survives]
    assert error.max(initial=0) <= bound + 1e-5


@pytest.mark.parametrize("perturbation", [*ONE_OF_EACH, scaling(1.05)], ids=lambda p: p.kind)
def test_a_map_comes_back_alike_whatever_others_come_with_it(perturbation):
    maps = scenes(3) + 2  # no zeros, so that a blend with the nothing around it shows
    maps[1:] -= 2
    np.testing.assert_allclose(perturbation.undo(maps)[0], perturbation.undo(maps[:1])[0])


@pytest.mark.parametrize("moves_nothing", [Blur(2), Noise(20)], ids=lambda p: p.kind)
def test_maps_of_blurred_and_noisy_pictures_are_where_they_belong(moves_nothing):
    maps = scenes()
    back = moves_nothing.undo(maps)
    np.testing.assert_array_equal(back, maps)
    assert not np.shares_memory(back, maps)
    assert moves_nothing.survives(12, 17).all()


@pytest.mark.parametrize("sigma", [0.7, 1.5, 3])
def test_blur_is_opencvs_gaussian(sigma):
    images = scenes()
    side = 2 * int(4 * sigma + 0.5) + 1
    blurred = Blur(sigma).apply(images)
    for image, ours in zip(images, blurred, strict=True):
        theirs = cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REFLECT)
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_blur_keeps_what_is_constant_and_the_sum_of_the_rest():
    constant = np.full((1, 12, 17, 3), 77, dtype=np.uint8)
    np.testing.assert_array_equal(Blur(4).apply(constant), constant)
    images = scenes()
    sums = Blur(2).apply(images).sum(axis=(1, 2))
    np.testing.assert_allclose(sums, images.sum(axis=(1, 2)), atol=1e-9)


def test_a_blurred_byte_is_the_rounded_blur():
    images = np.random.default_rng(0).integers(0, 256, (1, 12, 17, 3), dtype=np.uint8)
    floats = Blur(1).apply(images.astype(np.float64))
    np.testing.assert_array_equal(Blur(1).apply(images), np.rint(floats))


def test_noise_has_the_given_deviation_and_is_independent():
    grey = np.zeros((4, 64, 64, 3), dtype=np.float32)
    noise = Noise(0.2).apply(grey)
    assert noise.std() == pytest.approx(0.2, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.005)
    # Neighbours, colours and pictures of a batch have nothing to do with each other.
    for one, other in (
        (noise[:, 1:], noise[:, :-1]),
        (noise[:, :, 1:], noise[:, :, :-1]),
        (noise[..., 0], noise[..., 1]),
        (noise[0], noise[1]),
    ):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] == pytest.approx(0, abs=0.03)
    levels = Noise(10).apply(np.full((4, 64, 64, 3), 128, dtype=np.uint8)).astype(float)
    assert levels.std() == pytest.approx(np.sqrt(100 + 1 / 12), rel=0.02)  # and of rounding


def test_noise_is_that_of_its_seed():
    images = scenes()
    one, two, other = (Noise(0.1, seed).apply(images) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert np.corrcoef((one - images).ravel(), (other - images).ravel())[0, 1] < 0.2
    thrice = Noise(0.3).apply(images) - images
    np.testing.assert_allclose(thrice, 3 * (one - images), atol=1e-12)


def test_noise_does_not_wrap_round_at_black_and_white():
    white, black = np.full((1, 32, 32, 3), 255, np.uint8), np.zeros((1, 32, 32, 3), np.uint8)
    assert Noise(10).apply(white).min() > 190 and Noise(10).apply(black).max() < 65
    assert np.mean(Noise(10).apply(white) == 255) == pytest.approx(0.5, abs=0.05)


def redness_detector(size=6, steepness=20.0):
    """Return a detector whose logit is `steepness` times the mean red above 120, in 127.5ths."""
    inputs = keras.Input((size, size, 3))
    mean = keras.layers.GlobalAveragePooling2D()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(mean))
    bias = steepness * (1 - 120 / 127.5)
    model.set_weights([np.array([[steepness], [0], [0]]), np.array([bias])])
    return Detector(model)


def plain_faces(reds, labels, people, size=6):
    """Return faces of one colour each; only the red differs."""
    images = np.full((len(reds), size, size, 3), 90, dtype=np.uint8)
    images[..., 0] = np.array(reds)[:, None, None]
    table = pd.DataFrame({"target": people, "label": labels})
    nothing = np.zeros(images.shape[:3], dtype=bool)
    return Faces(images, np.array(labels), nothing, None, table, 1.3)


FOUR = plain_faces([100, 121, 130, 115], [0, 0, 1, 1], ["a", "b", "a", "b"])


def test_the_curve_at_identity_is_computed_by_hand():
    curve = perturbation_curve(redness_detector(), FOUR, [Blur(0)], resamples=20, progress=False)
    assert list(curve) == ["kind", "strength", "score", "value", "low", "high"]
    assert curve.score.tolist() == list(SCORES)
    assert set(curve.kind) == {"blur"} and set(curve.strength) == {0}
    chance = expit(20 * (np.array([100, 121, 130, 115]) - 120) / 127.5)
    # Only the fake of 115 ranks below the real of 121.
    expected = {"accuracy": 0.5, "auc": 0.75, "false_positive_rate": 0.5, "recall": 0.5}
    expected |= {"probability_real": chance[:2].mean(), "probability_fake": chance[2:].mean()}
    found = dict(zip(curve.score, curve.value, strict=True))
    assert found == pytest.approx(expected, abs=1e-5)


def test_rows_stand_in_the_order_of_the_perturbations():
    # None of these changes a picture of one colour, so all have the same scores.
    given = [Blur(3), rotation(20), scaling(0.7), Noise(0), translation(-3, 4), shear(10)]
    curve = perturbation_curve(redness_detector(), FOUR, given, resamples=20, progress=False)
    assert len(curve) == 6 * len(given)
    assert curve.kind.tolist() == [p.kind for p in given for _ in SCORES]
    assert curve.strength.tolist() == [p.strength for p in given for _ in SCORES]
    for _, rows in curve.groupby("kind"):
        first = curve.iloc[:6]
        np.testing.assert_allclose(rows[["value", "low", "high"]], first[["value", "low", "high"]])


def many_faces(count=40):
    """Return a real and a fake face each of some people, just told apart, some wrongly."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], count)
    reds = np.rint(rng.normal(120 + 8 * (2 * labels - 1), 4))
    return plain_faces(reds, labels.tolist(), [f"{i:03d}" for i in range(count)] * 2)


def test_noise_that_drowns_the_faces_takes_the_detectors_sight():
    given = [Noise(0), Noise(30), Noise(300)]
    curve = perturbation_curve(redness_detector(), many_faces(), given, resamples=200)
    values = curve.pivot(index="score", columns="strength", values="value")
    assert values.loc["accuracy", 0] > 0.95 and values.loc["auc", 0] > 0.98
    assert values.loc["accuracy", 300] < 0.75 and values.loc["auc", 300] < 0.75
    assert values.loc["auc"].is_monotonic_decreasing
    assert (curve.low <= curve.value).all() and (curve.value <= curve.high).all()
    assert (curve.high - curve.low).max() > 0.05


def test_the_curves_intervals_are_seeded_and_come_from_people():
    model, faces = redness_detector(), many_faces()
    one, two, other = (
        perturbation_curve(model, faces, [Noise(100)], seed, 50, progress=False)
        for seed in (0, 0, 1)
    )
    pd.testing.assert_frame_equal(one, two)
    assert one.value.equals(other.value) and not one.low.equals(other.low)
    faces.table["target"] = "one person"
    alone = perturbation_curve(model, faces, [Noise(100)], resamples=5, progress=False)
    np.testing.assert_allclose(alone.low, alone.value)
    np.testing.assert_allclose(alone.high, alone.value)


@pytest.mark.filterwarnings("error")
def test_real_faces_alone_have_no_auc_and_no_recall():
    faces = FOUR[:2]
    curve = perturbation_curve(
        redness_detector(), faces, [Blur(0), Noise(5)], resamples=20, progress=False
    ).set_index("score")
    undefined = curve.loc[["auc", "probability_fake", "recall"], ["value", "low", "high"]]
    defined = curve.loc[
        ["accuracy", "probability_real", "false_positive_rate"], ["value", "low", "high"]
    ]
    assert undefined.isna().all(axis=None) and defined.notna().all(axis=None)
    assert curve.loc["accuracy", "value"].iloc[0] == 0.5
