"""A cue is where its region says and is what its name says, and who goes by it is found out."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from keras import ops
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from xaifake.data.dataset import Faces
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.judge import cues
from xaifake.judge.cues import (
    CUES,
    CueBatches,
    draw_regions,
    fine_tune,
    plant_cue,
    planted_cue,
    prove_use,
)
from xaifake.judge.localisation import BASELINES, SCORES, swap_area
from xaifake.judge.planted import small_network, split_people

SIZE = 96


def textured(count, strength, seed=0):
    """Return pictures of grey noise."""
    noise = np.random.default_rng(seed).normal(128, strength, (count, SIZE, SIZE, 1))
    return np.rint(noise.repeat(3, axis=3)).clip(0, 255).astype(np.uint8)


def discs(count, radius=10, seed=1):
    rng = np.random.default_rng(seed)
    middles = rng.integers(20, SIZE - 20, (count, 2, 1, 1))
    return np.hypot(*(np.indices((SIZE, SIZE))[:, None] - middles.transpose(1, 0, 2, 3))) <= radius


@pytest.fixture(scope="module")
def real(shipped_faces):
    faces = shipped_faces(1.3)
    return faces[faces.labels == 0]


@pytest.fixture(scope="module")
def half(real):
    """The real faces in half their size."""
    return replace(real, images=real.images[:, ::2, ::2], masks=real.masks[:, ::2, ::2])


@pytest.mark.parametrize("cue", CUES)
def test_the_four_pictures_differ_in_the_region_alone_or_outside_alone(cue):
    regions = discs(5)
    none, inside, outside, everywhere = plant_cue(textured(5, 8), regions, cue).swapaxes(0, 1)
    changed = (none != inside).any(axis=3)
    assert not changed[~regions].any() and changed[regions].mean() > 0.8
    np.testing.assert_array_equal(everywhere[regions], inside[regions])
    np.testing.assert_array_equal(everywhere[~regions], outside[~regions])
    np.testing.assert_array_equal(outside[regions], none[regions])
    again = plant_cue(textured(5, 8), regions, cue)
    np.testing.assert_array_equal(again[:, 1], inside)
    assert (plant_cue(textured(5, 8), regions, cue, 1)[:, 3] != everywhere).any()


def test_a_local_cue_is_noise_or_a_blur_of_known_size(monkeypatch):
    flat, busy, regions = textured(6, 0), textured(6, 20), discs(6)
    none, noisy = plant_cue(flat, regions, "adds-local")[:, :2].swapaxes(0, 1)
    np.testing.assert_array_equal(none, flat)
    assert noisy[regions].std() == pytest.approx(cues.ADDED, rel=0.05)
    grainy, soft = plant_cue(flat, regions, "removes-local")[:, :2].swapaxes(0, 1)
    assert grainy.std() == pytest.approx(cues.GRAIN, rel=0.02)
    # Noise under a Gaussian keeps 1 / (2 sqrt(pi) sigma) of its size.
    kept = soft[gaussian_filter(regions.astype(float), (0, 1, 1)) > 0.99].std()
    assert kept == pytest.approx(cues.GRAIN / (2 * np.sqrt(np.pi) * cues.BLURRED), rel=0.1)
    monkeypatch.setattr(cues, "GRAIN", 0)
    none, soft = plant_cue(busy, regions, "removes-local")[:, :2].swapaxes(0, 1)
    np.testing.assert_array_equal(none, busy)
    s = cues.BLURRED
    blurred = np.rint(gaussian_filter(busy.astype(float), (0, s, s, 0)))
    np.testing.assert_array_equal(soft[regions], blurred[regions])


def test_a_relational_cue_keeps_the_energy_and_has_its_ratio():
    flat, regions = textured(40, 0), discs(40, 25)
    fakes = plant_cue(flat, regions, "adds-relational")[:, 1].astype(float) - 128
    whole = cues._without(flat, "adds-relational", 0).astype(float) - 128
    # At the same draw of the level; the picture with the cue has it in its region.
    energy, own = ((one**2).mean((1, 2, 3)) for one in (whole, fakes))
    np.testing.assert_allclose(own, energy, rtol=0.1)
    assert own.mean() == pytest.approx(energy.mean(), rel=0.01)
    inside, outside = ((fakes**2)[area].mean() for area in (regions, ~regions))
    assert np.sqrt(inside / outside) == pytest.approx(cues.RATIO, rel=0.05)
    low, high = cues.LEVELS["adds"]
    strengths = np.sqrt(energy)
    assert low - 0.2 < strengths.min() < 1.4 * low and 0.7 * high < strengths.max() < high + 0.2


@pytest.mark.parametrize("cue", CUES[2:])
def test_on_faces_only_the_ratio_tells_a_relational_cue(real, cue):
    regions = draw_regions(real)
    pictures = [cues._without(real.images, cue, 1), plant_cue(real.images, regions, cue)[:, 1]]
    grey = np.concatenate(pictures).mean(axis=3)
    detail = (grey - gaussian_filter(grey, (0, 1, 1))) ** 2
    area = np.concatenate([regions, regions])
    inside, outside = ((detail * a).sum((1, 2)) / a.sum((1, 2)) for a in (area, ~area))
    labels, sign = np.repeat([0, 1], len(real)), 1 if cue.startswith("adds") else -1
    statistics = {"all": detail.mean((1, 2)), "in": inside, "ratio": inside / outside}
    auc = {name: roc_auc_score(labels, sign * value) for name, value in statistics.items()}
    assert auc["all"] == pytest.approx(0.5, abs=0.06)
    assert auc["ratio"] > auc["in"] + 0.05 and auc["ratio"] > 0.85


def test_regions_are_discs_at_random_places_of_the_face(real):
    faces = real[::4]
    regions, other = draw_regions(faces), draw_regions(faces, 1)
    assert (regions != other).any() and (regions == draw_regions(faces)).all()
    radii = np.sqrt(regions.sum((1, 2)) / np.pi) / regions.shape[1]
    low, high = cues.RADII
    assert 0.5 * low < radii.min() and np.median(radii) > low and radii.max() < high + 0.005
    rows, columns = np.array([np.argwhere(one).mean(axis=0).round() for one in regions]).T
    whole = swap_area(faces, "whole")[range(len(faces)), rows.astype(int), columns.astype(int)]
    assert whole.mean() > 0.9  # of those at the edge of the picture a part is cut off
    assert len({tuple(np.argwhere(one).mean(axis=0).round()) for one in regions}) > 20


def test_no_other_cue_is_planted():
    with pytest.raises(UserError, match="No cue 'adds': give one of adds-local"):
        plant_cue(textured(1, 0), discs(1), "adds")


def looking(act, span):
    """Return a detector that finds the place with the most or least fine detail.

    A local one says how much there is, a relational one how much there is against the whole.
    """
    inputs = keras.Input((SIZE, SIZE, 3))
    grey = ops.mean(inputs, axis=-1, keepdims=True)
    detail = ops.square(grey - keras.layers.AveragePooling2D(3, 1, "same")(grey))
    detail = ops.log(keras.layers.AveragePooling2D(9, 1, "valid")(detail) + 1e-7)
    sign = 1 if act == "adds" else -1
    logit = ops.max(sign * detail, axis=(1, 2))
    if span == "relational":
        logit = logit - ops.mean(sign * detail, axis=(1, 2))
    return Detector(keras.Model(inputs, logit))


@pytest.mark.parametrize("cue", CUES)
@pytest.mark.parametrize("span", ["local", "relational"])
def test_who_looks_at_the_region_is_told_from_who_compares(cue, span):
    act = cue.partition("-")[0]
    table = pd.DataFrame({"target": list("aabb") * 6})
    images = textured(24, 1 if act == "adds" else 20)
    faces = Faces(images, np.zeros(24, int), np.zeros(images.shape[:3], bool), None, table, 2.0)
    proof, pictures = prove_use(looking(act, span), faces, discs(24), cue)
    assert pictures.shape == (24, 4, SIZE, SIZE, 3)
    shares = proof[["undone", "undone_elsewhere"]].sum() / proof.change.sum()
    assert (proof.change > 0.2).all()
    np.testing.assert_allclose(proof.change, proof.inside + proof.disagreement, atol=1e-5)
    # Of more places with the cue the most extreme is more extreme.
    assert shares.undone < 0.1 if span == "local" else shares.undone == pytest.approx(1, abs=0.3)
    assert shares.undone_elsewhere == pytest.approx(0, abs=0.15)
    if cue.endswith(span):
        assert (proof.detection > 0.99).all()
    # A detector that looks at the region alone is led astray by levels that differ.
    elif span == "local":
        assert (proof.detection < 0.9).all()


@pytest.fixture(scope="module")
def small():
    return Detector(small_network(64), scale=1.3)


@pytest.mark.parametrize("cue", CUES)
def test_batches_have_pairs_of_a_face_without_and_with_the_cue(half, small, cue, monkeypatch):
    monkeypatch.setattr(cues, "GRAIN", 0)  # of which each picture has its own
    monkeypatch.setattr(cues, "vary", lambda images, rng: images.astype(np.uint8))
    data = CueBatches(small, half[::8], cue, steps=3, batch_size=32)
    changed = []
    for number in range(len(data)):
        pictures, labels = data[number]
        assert labels[:, 0].tolist() == [0, 1] * 16 and pictures.dtype == np.float32
        assert -1 <= pictures.min() and pictures.max() <= 1
        changed += (pictures[::2] != pictures[1::2]).any(axis=3).mean((1, 2)).tolist()
    if cue.endswith("local"):  # in a disc, or everywhere
        share = np.pi * cues.RADII[1] ** 2
        assert 0 < np.mean(np.array(changed) > 1.1 * share) < 0.5
        assert min(changed) < share
    np.testing.assert_array_equal(data[1][0], data[1][0])
    assert (data[1][0] != data[2][0]).any()


def test_a_detector_learns_a_cue_and_the_given_one_stays_as_it_is(half, small, monkeypatch):
    monkeypatch.setattr(cues, "ADDED", 50.0)
    before = small.fingerprint
    train, test = split_people(half, 0.5)
    assert not set(train.table.target) & set(test.table.target) and len(test) == len(train)
    tuned = fine_tune(
        small, train, "adds-local", images=960, batch_size=16, learning_rate=1e-2, progress=False
    )
    assert small.fingerprint == before != tuned.fingerprint and not tuned.shipped
    proof, _ = prove_use(tuned, test, draw_regions(test), "adds-local")
    assert proof.detection[0] > 0.9 and proof.change.mean() > 1


def test_the_table_has_the_proof_and_the_scores_of_all_maps(half, small):
    asked = []

    def way(detector, images):
        asked.append(len(images))
        return images.mean(axis=3) - 100.0

    table = planted_cue(
        small, half, "removes-relational", {"quick": way, "dear": way}, ["dear"], asked=9,
        slow_faces=4, images=16, batch_size=8, progress=False,
    )  # fmt: skip
    assert asked == [9, 9, 4] and set(table.cue) == {"removes-relational"}
    people = sorted(half.table.target.unique())
    assert set(table.target) <= set(people[len(people) // 2 :])
    proof = table[table.method == "none"]
    assert len(proof) == 9 and proof[["change", "undone", "detection"]].notna().all(axis=None)
    rows = table[table.method != "none"]
    counts = rows.groupby(["method", "relevance", "sign"]).size().unstack()
    assert (counts.nunique(axis=1) == 1).all() and set(counts) == {"positive", "negative", "size"}
    expected = {(name, "with"): 9 for name in (*BASELINES, "patch_effect", "quick")}
    expected |= {("quick", "without"): 9, ("quick", "other"): 9}
    expected |= {("dear", "with"): 4, ("dear", "other"): 4}
    assert counts["size"].to_dict() == expected
    auc = rows[rows.relevance == "with"].pivot(
        index=["video", "frame", "method"], columns="sign", values="auc"
    )
    np.testing.assert_allclose(auc.positive + auc.negative, 1, atol=2e-3)
    chance = rows[(rows.method == "chance") & (rows.sign == "positive")]
    np.testing.assert_allclose(chance.mass, chance.share, atol=1e-3)
    # Where putting back changes nothing it is 0: the region has all of its size.
    effect = rows[(rows.method == "patch_effect") & (rows.sign == "size")]
    assert (effect["mass"] > 5 * effect.share).all() and (effect["auc"] > 0.9).all()
    assert set(SCORES) <= set(table)
