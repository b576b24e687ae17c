"""What a detector knows is measured right, and what it does not know is found out."""

import dataclasses

import cv2
import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from scipy.spatial.distance import mahalanobis
from scipy.special import expit, logit

from xaifake.data import load_faces
from xaifake.data.dataset import LEAKAGE_FACES
from xaifake.data.faces import FaceFinder, cut_square, face_square
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.video import reference as module
from xaifake.video.reference import (
    FLAGS,
    check_faces,
    features,
    learn_reference,
    load_reference,
    raised_flags,
    reference_for,
    sharpness,
    strange_pictures,
)


@pytest.fixture(scope="module")
def detector(shipped_detector):
    return shipped_detector(2.0)


@pytest.fixture(scope="module")
def known():
    return load_reference(2.0)


@pytest.fixture(scope="module")
def faces(shipped_faces):
    return shipped_faces(2.0)


@pytest.mark.book
def test_the_stored_reference_is_what_is_measured_now(detector, known, faces):
    now = learn_reference(detector, faces)
    assert (now.labels == known.labels).all()
    np.testing.assert_allclose(now.probabilities, known.probabilities, atol=1e-3)
    assert (now.people, now.frames) == (known.people, known.frames) == (16, 384)
    for name in ("least_sharpness", "most_ood_score", "rest"):
        assert getattr(now, name) == pytest.approx(float(getattr(known, name)), rel=1e-2)
    assert now.guards and known.guards


def test_the_distance_is_mahalanobis_within_and_relative_without():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 24)) * np.geomspace(5, 0.5, 24)
    mean, directions, variances, rest = module._plane(points)
    within = (points - mean) @ directions.T
    beyond = ((points - mean) ** 2).sum(axis=1) - (within**2).sum(axis=1)
    assert len(directions) == 10 and rest == pytest.approx(beyond.mean())
    inverse, probe = np.linalg.inv(np.cov(within.T, bias=True)), rng.normal(size=(5, 24)) * 9
    expected = []
    for apart in probe - mean:
        along = directions @ apart
        inside = mahalanobis(along, np.zeros(10), inverse) ** 2 / 10
        expected.append(inside + ((apart**2).sum() - (along**2).sum()) / rest)
    found = module._distance(probe, mean, directions, variances, rest)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("channels", [2, 6, 10])
def test_a_network_of_few_channels_has_a_limit_that_strangers_do_not_keep(channels):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, channels))
    *_, variances, rest = plane = module._plane(points)
    assert len(variances) == channels // 2 and rest > 0.1
    far = module._distance(points[:5] + 20, *plane)
    assert np.isfinite(far).all() and (far > module._distance(points, *plane).max()).all()


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_what_cannot_be_compared_does_not_pass(detector, known, faces, monkeypatch, nothing):
    images, sides = faces.images[:2], [200, nothing]
    no_limit = dataclasses.replace(known, most_ood_score=nothing, least_sharpness=nothing)
    checks = check_faces(detector, images, sides, no_limit)
    assert checks.unchecked.all() and checks.blurred.all() and not checks.out_of_distribution.any()
    assert raised_flags(checks) == ["blurred", "unchecked"]
    monkeypatch.setattr(module, "features", lambda *_: np.full((2, 728), nothing))
    checks = check_faces(detector, images, [np.nan, 200], known)
    assert checks.out_of_distribution.all() and checks.too_small.tolist() == [True, False]
    assert raised_flags(checks) == ["out_of_distribution"] and not checks.unchecked.any()
    monkeypatch.setattr(module, "_distance", lambda *_: np.full(2, nothing))
    assert check_faces(detector, images, [200, 200], known).out_of_distribution.all()


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_no_number_says_nothing(known, nothing):
    assert known.reliability(nothing)["n"] == 0


def test_a_detector_that_answers_with_nan_is_not_learned(detector, faces, monkeypatch):
    monkeypatch.setattr(Detector, "logits", lambda self, images, **_: np.full(len(images), np.nan))
    with pytest.raises(UserError, match="40 of 40 answers of the detector are NaN or infinite"):
        learn_reference(detector, faces[:40])


# Whether the guard guards


def network(build):
    """A detector of 128 x 128 pictures, with weights as they were drawn."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((128, 128, 3))
    x = build(inputs)
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D()(x)
    return Detector(keras.Model(inputs, keras.layers.Dense(1)(x)))


def convolutions(*channels, start="glorot_uniform"):
    """Convolutions of stride 2, with so many channels."""

    def build(x):
        for count in channels:
            x = keras.layers.Conv2D(
                count, 5, 2, "same", activation="relu", kernel_initializer=start
            )(x)
        return x

    return build


def hidden(x):
    """A network of its own class, whose layers nobody can follow."""

    class Hidden(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Conv2D(24, 8, 8, activation="relu")
            self.pool = keras.layers.GlobalAveragePooling2D()

        def call(self, x):
            return self.pool(self.inner(x))

    return Hidden()(x)


def nested(x):
    """A network within, as transfer learning has it."""
    inner = keras.Input((128, 128, 3))
    return keras.Model(inner, convolutions(16, 32, 48)(inner))(x)


def reused(x):
    """One activation for several layers."""
    relu = keras.layers.ReLU()
    for count in (16, 32, 48):
        x = relu(keras.layers.Conv2D(count, 5, 2, "same")(x))
    return x


@pytest.mark.parametrize("build", [convolutions(16, 32, 48), nested, reused])
def test_networks_whose_maps_are_reached_refuse_what_is_no_face(build, faces):
    detector, some = network(build), faces[::4]
    known = learn_reference(detector, some)
    assert known.mean.shape == (48,) and known.guards
    for kind, pictures in strange_pictures(some.images).items():
        unlike = check_faces(detector, pictures, [200] * len(pictures), known).out_of_distribution
        assert unlike.mean() > (0.5 if kind == "a shuffled face" else 0.99), kind


@pytest.mark.parametrize(
    ("build", "passing"),
    [
        (hidden, ["noise", "a grey square", "a shuffled face"]),
        (
            lambda x: keras.layers.Dense(4)(keras.layers.Flatten()(x)),
            ["noise", "a grey square", "a shuffled face"],
        ),
        (convolutions(2, 2, 1), []),  # its one channel leaves no rest
        (convolutions(8, 8, 8, start="zeros"), []),
    ],
    ids=["hidden", "no maps", "few channels", "dead"],
)
def test_a_guard_that_lets_through_what_is_no_face_is_none(build, passing, faces):
    detector, some = network(build), faces[::4]
    known = learn_reference(detector, some)
    assert not known.guards and known.passing.tolist() == passing
    assert len(passing) or np.isnan(known.most_ood_score)
    checks = check_faces(detector, some.images[:3], [200] * 3, known)
    assert raised_flags(checks) == ["unchecked"] and not checks.out_of_distribution.any()


def test_a_guard_is_kept_with_what_it_lets_through(known, tmp_path, monkeypatch):
    assert known.guards and not len(known.passing)
    dataclasses.replace(known, passing=np.array(["noise"])).save(tmp_path / "reference_2.0.npz")
    monkeypatch.setattr(module, "STORED", tmp_path)
    assert load_reference(2.0).passing.tolist() == ["noise"] and not load_reference(2.0).guards


@pytest.mark.parametrize("size", [128, 150])
def test_a_shuffled_face_has_the_same_pixels_at_other_places(faces, size):
    images = np.stack([cv2.resize(image, (size, size)) for image in faces.images[:32]])
    made = strange_pictures(images)
    shuffled, some = made["a shuffled face"], images[::2]
    assert shuffled.shape == made["noise"].shape == some.shape and len(made["a grey square"]) == 1
    assert (np.sort(shuffled, axis=None) == np.sort(some, axis=None)).all()
    tile = slice(0, size // 8)
    moved = [(one[tile, tile] != other[tile, tile]).any() for one, other in zip(shuffled, some)]
    assert np.mean(moved) > 0.9


def test_known_points_are_two_away_on_average():
    points = np.random.default_rng(0).normal(size=(500, 30)) * np.arange(1, 31)
    assert module._distance(points, *module._plane(points)).mean() == pytest.approx(2)


def test_the_limit_is_measured_on_others_than_the_plane(monkeypatch):
    """People who are each a world of their own must not be called known to the others."""
    people = np.repeat(np.arange(8), 20)
    rng = np.random.default_rng(0)
    points = rng.normal(size=(160, 12)) + 50 * rng.normal(size=(8, 12))[people]
    apart = module._of_others(points, people)
    assert np.median(apart) > 20 * np.median(module._distance(points, *module._plane(points)))


@pytest.mark.parametrize("factor", [0.4, 0.8])
def test_sharpness_falls_with_blur_and_not_with_darkness(faces, factor):
    images = faces.images[:8]
    dark = np.rint(images * factor).astype(np.uint8)
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 1) for image in images])
    assert np.abs(sharpness(dark) - sharpness(images)).max() < 0.4
    assert (sharpness(blurred) < sharpness(images) - 0.8).all()
    assert sharpness(np.full((1, 8, 8, 3), 9, np.uint8))[0] == -np.inf


def changed(images):
    """Pictures of kinds that no detector here was trained on."""
    rng = np.random.default_rng(0)
    return {
        "dark": (images * 0.45).astype(np.uint8),
        "orange light": np.clip(images * np.array([1.2, 1, 0.75]), 0, 255).astype(np.uint8),
        "noise": np.clip(images + rng.normal(0, 20, images.shape), 0, 255).astype(np.uint8),
        "blur": np.stack([cv2.GaussianBlur(image, (0, 0), 2) for image in images]),
    }


def test_faces_of_unseen_people_pass(detector, known):
    """In a scene that neither the detector nor the reference has seen."""
    others = load_faces(LEAKAGE_FACES, scale=2.0)
    checks = check_faces(detector, others.images, others.table.side, known)
    assert checks.out_of_distribution.mean() < 0.1 and checks.blurred.mean() < 0.1
    assert not checks.too_small.any()
    by_clip = [raised_flags(rows) for _, rows in checks.groupby(others.table.video.to_numpy())]
    assert np.mean([not found for found in by_clip]) > 0.9


def test_pictures_unlike_the_training_data_do_not_pass(detector, known, faces):
    images = faces.images[::16]
    for kind, pictures in changed(images).items():
        checks = check_faces(detector, pictures, [200] * len(pictures), known)
        assert (checks.out_of_distribution | checks.blurred).mean() > 0.9, kind
        assert raised_flags(checks), kind


def test_a_portrait_from_elsewhere_does_not_pass(detector, known):
    """A public photograph of an astronaut, in another light and before a flag."""
    photograph = skimage.data.astronaut()
    (face,) = FaceFinder().find(photograph)
    square = face_square(face, 2.0)
    crop, _ = cut_square(photograph, square)
    checks = check_faces(detector, crop[None], [square[2]], known)
    assert raised_flags(checks) == ["out_of_distribution"]


def test_a_small_face_does_not_pass(detector, known, faces):
    checks = check_faces(detector, faces.images[:3], [119, 119, 300], known)
    assert checks.too_small.tolist() == [True, True, False]
    assert raised_flags(checks) == ["too_small"] and "too_small" in FLAGS


@given(st.floats(0, 1))
def test_every_test_clip_is_counted_in_one_fifth(probability):
    known = load_reference(2.0)
    found = known.reliability(probability)
    assert found["low"] <= probability <= found["high"]
    fifths = [known.reliability(k / 5 + 0.1) for k in range(5)]
    assert sum(fifth["n"] for fifth in fifths) == len(known.labels)
    assert sum(fifth["fakes"] for fifth in fifths) == known.labels.sum()


def test_the_counts_of_right_and_wrong_are_those_of_the_clips(known):
    counted = known.confusion()
    assert counted["fake"] + counted["real"] == len(known.labels)
    said = known.probabilities > 0.5
    assert (
        counted["true_positives"] + counted["real"] - counted["false_positives"]
        == (said == known.labels).sum()
    )


def test_a_detector_of_ones_own_is_measured_and_too_few_faces_are_told(
    detector, faces, monkeypatch
):
    measured = []
    monkeypatch.setattr(module, "learn_reference", lambda *given: measured.append(given) or "own")
    yours = dataclasses.replace(detector, shipped=False)
    assert reference_for(yours) == "own" and len(measured[0][1]) == 384
    with pytest.raises(UserError, match="too few"):
        learn_reference(detector, faces[:10])
    with pytest.raises(UserError, match="1.7"):
        load_reference(1.7)


def test_features_are_the_means_of_maps_of_an_eighth(detector, faces):
    found = features(detector, faces.images[:3], batch_size=2)
    assert found.shape == (3, 728)
    np.testing.assert_allclose(found, features(detector, faces.images[:3]), atol=1e-4)


def test_the_logit_of_the_mean_probability_tells_saturated_scores_apart():
    assert module.log_odds([1.0, -2.0]) == pytest.approx(logit(expit([1.0, -2.0]).mean()))
    assert module.log_odds([60.0, 60.0]) == pytest.approx(60) and module.log_odds([-60.0]) == -60
    assert np.isnan(module.log_odds([np.nan, 1.0]))
