"""Who looks inside the swap, outside, or at whether both agree, is found out by asking."""

import keras
import numpy as np
import pytest
from hypothesis import given, strategies as st
from keras import ops
from scipy.ndimage import gaussian_filter

from xaifake.data import load_faces
from xaifake.data.dataset import Faces
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.judge.interventions import (
    CORNERS,
    EDGE,
    EFFECTS,
    matching_blur,
    outside_effects,
    split_effects,
    texture_effects,
)
from xaifake.judge.localisation import swap_area

SIZE, BLURRED = 96, 1.5


def looking(combine, mask):
    """Return a detector whose logit is made of the fine detail inside and outside a mask."""
    inputs = keras.Input((SIZE, SIZE, 3))
    grey = ops.mean(inputs, axis=-1, keepdims=True)
    detail = ops.square(grey - keras.layers.AveragePooling2D(3, 1, "same")(grey))
    means = []
    for area in (mask, ~mask):
        # Away from the outline, where the filter sees both.
        deep = gaussian_filter(area.astype(float), EDGE) > 0.99
        weights = ops.convert_to_tensor((deep / deep.sum())[..., None].astype(np.float32))
        means.append(ops.log(ops.sum(detail * weights, axis=(1, 2)) + 1e-4))
    return Detector(keras.Model(inputs, combine(*means)))


@pytest.fixture(scope="module")
def noisy():
    """Six pictures of noise, of three people, whose middles were blurred."""
    rng = np.random.default_rng(7)  # not that of the noise which is added
    mask = np.zeros((SIZE, SIZE), bool)
    mask[24:72, 21:75] = True
    originals = rng.normal(128, 10, (6, SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
    blurred = gaussian_filter(originals.astype(float), (0, BLURRED, BLURRED, 0))
    images = np.where(mask[..., None], np.rint(blurred), originals).astype(np.uint8)
    points = load_faces(scale=2.0).table.iloc[:6]
    whole = points.assign(side=300.0, target=list("aabbcc"), original=[f"v{n}" for n in range(6)])
    return Faces(images, np.ones(6, int), np.stack([mask] * 6), originals, whole, 2.0)


def real_ones(faces):
    table = faces.table.assign(video=faces.table.original)
    none = np.zeros_like(faces.masks)
    return Faces(faces.originals, np.zeros(6, int), none, faces.originals, table, 2.0)


@pytest.mark.parametrize(
    "combine, expected, undone",
    [
        (lambda inside, outside: inside, {"inside": 1}, 0),
        (lambda inside, outside: outside, {"outside": 1}, None),
        (lambda inside, outside: ops.abs(inside - outside), {"disagreement": 1}, 1),
        (lambda inside, outside: outside - inside, {"inside": 1, "outside": -1}, 1),
    ],
    ids=["inside", "outside", "whether both differ", "which of both is softer"],
)
def test_where_a_detector_looks_is_found_out(noisy, combine, expected, undone):
    model = looking(combine, noisy.masks[0])
    rows = outside_effects(model, noisy, real_ones(noisy)).query("treatment == 'softened'")
    sizes = rows[list(EFFECTS)].mean()
    largest = sizes.abs().max()
    assert largest > 0.5
    for name in EFFECTS:
        sign = np.sign(sizes[next(iter(expected))]) * expected.get(name, 0)
        assert sizes[name] / largest == pytest.approx(sign, abs=0.1), name
    if undone is None:  # putting the original's pixels back finds nothing of such a detector
        np.testing.assert_allclose(rows.change, 0, atol=1e-4)
    else:
        assert rows.undone.sum() / rows.change.sum() == pytest.approx(undone, abs=0.1)


@pytest.mark.parametrize("treatment", ["softened", "sharpened", "noise"])
def test_a_detector_of_disagreement_is_not_moved_by_a_change_of_the_whole(noisy, treatment):
    real = real_ones(noisy)
    # The mask of a real face is what a swap of the whole face would replace.
    same = real[[0] * 3]
    area = swap_area(same, "whole")[0]
    rows = texture_effects(looking(lambda a, b: ops.abs(a - b), area), same)
    rows = rows[rows.treatment == treatment]
    assert len(rows) == 3 and (rows.disagreement > 0.05).all()
    assert (rows[["inside", "outside"]].abs().max(axis=1) < 0.25 * rows.disagreement).all()
    rows = texture_effects(looking(lambda a, b: b, area), same)
    rows = rows[rows.treatment == treatment]
    assert (rows.outside.abs() > 0.05).all()
    np.testing.assert_allclose(rows[["inside", "disagreement"]], 0, atol=1e-3)


def test_the_other_take_is_the_persons_own_and_leaves_the_face_alone(noisy):
    area = noisy.masks[0]
    table = outside_effects(looking(lambda a, b: a, area), noisy, real_ones(noisy))
    rows = table[table.treatment == "take"].reset_index(drop=True)
    own = dict(zip(noisy.table.original, noisy.table.target, strict=True))
    assert rows.other.map(own).tolist() == noisy.table.target.tolist()
    assert not (rows.other == noisy.table.original).any()
    np.testing.assert_allclose(rows.outside, 0, atol=1e-4)
    np.testing.assert_allclose(rows.disagreement, 0, atol=1e-4)
    alone = noisy[[0]]
    other = outside_effects(looking(lambda a, b: a, area), alone, real_ones(noisy)[[2, 3]])
    assert other[other.treatment == "take"].other.isin(["v2", "v3"]).all()


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4))
def test_the_three_effects_add_up_to_what_was_seen(logits):
    none, inner, outer, both = logits
    i, o, d = split_effects(np.array([logits]))[0]
    np.testing.assert_allclose([i + d, o + d, i + o], [inner - none, outer - none, both - none],
                               atol=1e-9)  # fmt: skip


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_the_blur_that_matches_is_the_one_that_was_made(noisy, sigma):
    soft = gaussian_filter(noisy.originals[0].astype(float), (sigma, sigma, 0))
    assert matching_blur(noisy.originals[0], soft, noisy.masks[0]) == pytest.approx(sigma, abs=0.1)
    assert matching_blur(soft, noisy.originals[0], noisy.masks[0]) == 0


def test_a_swap_that_lost_no_detail_has_no_outside_to_match(noisy):
    sharp = Faces(noisy.originals, noisy.labels, noisy.masks, noisy.originals, noisy.table, 2.0)
    table = outside_effects(looking(lambda a, b: a, noisy.masks[0]), sharp, real_ones(noisy))
    soft = table[table.treatment == "softened"]
    assert (soft.sigma == 0).all() and soft[list(EFFECTS)].isna().all(axis=None)
    assert np.isfinite(table[list(CORNERS)]).all(axis=None)


def test_what_is_missing_is_told(noisy):
    model = looking(lambda a, b: a, noisy.masks[0])
    with pytest.raises(UserError, match="originals=True"):
        without = Faces(noisy.images, noisy.labels, noisy.masks, None, noisy.table, 2.0)
        outside_effects(model, without, real_ones(noisy))
    with pytest.raises(UserError, match="no real faces"):
        outside_effects(model, noisy, noisy)
