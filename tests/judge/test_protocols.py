"""Attacks stay in their ball and find what is known, edits stay in their area, turns are turns."""

import keras
import numpy as np
import pytest

from xaifake.data import load_faces
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.judge.interventions import EDGE
from xaifake.judge.perturbations import rotation
from xaifake.judge.planted import small_network
from xaifake.judge.protocols import (
    EDITS,
    OUTCOMES,
    QUARTERS,
    TURNS,
    attack,
    attack_named_segments,
    draw_by_outcome,
    edit,
    harmless_edits,
    name_segments,
    turned_verdicts,
)

SIZE = 32


def linear(weights, bias=0.0):
    """Return a detector that adds up weighted pixels."""
    inputs = keras.Input(weights.shape)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
    model.set_weights([weights.reshape(-1, 1), np.array([bias])])
    return Detector(model)


def random_weights(seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, (SIZE, SIZE, 3)).astype(np.float32)


def greys(count=3, level=128):
    return np.full((count, SIZE, SIZE, 3), level, np.uint8)


@pytest.mark.parametrize("epsilon, steps, moved", [(4, 8, 4), (4, 3, 3), (1, 5, 1)])
def test_the_attack_of_a_linear_detector_goes_as_far_as_the_ball(epsilon, steps, moved):
    weights, areas = random_weights(), np.zeros((3, SIZE, SIZE), bool)
    areas[0, :9], areas[1, 5:20, 7:] = True, True
    model = linear(weights)
    attacked = attack(model, greys(), areas, epsilon, steps)
    assert attacked.dtype == np.uint8
    apart = attacked.astype(int) - 128
    np.testing.assert_array_equal(apart, -moved * np.sign(weights) * areas[..., None])
    fall = model.logits(greys()) - model.logits(attacked)
    expected = [moved / 127.5 * np.abs(weights[area]).sum() for area in areas]
    np.testing.assert_allclose(fall, expected, atol=1e-3)


def test_the_attack_stays_in_the_range_and_in_the_ball_of_any_network():
    rng = np.random.default_rng(1)
    images = rng.choice(np.array([0, 2, 253, 255], np.uint8), (4, 64, 64, 3))
    areas = rng.random((4, 64, 64)) < 0.5
    model = Detector(small_network(64, seed=3))
    attacked = attack(model, images, areas, 3, 6)
    apart = np.abs(attacked.astype(int) - images)
    assert apart.max() == 3 and not apart[~areas].any()  # a wrap around 0 or 255 is far away
    assert model.logits(attacked).mean() < model.logits(images).mean()


def test_what_cannot_be_attacked_is_told():
    with pytest.raises(UserError, match="epsilon=0"):
        attack(linear(random_weights()), greys(), np.ones((3, SIZE, SIZE), bool), epsilon=0)


def test_a_map_names_the_segments_with_its_highest_means():
    segments = np.array([[[0, 0, 3], [1, 1, 3], [1, 2, 2]]])  # one number is left out
    maps = np.array([[[5.0, 0, 1], [3, 3, 4], [1, -1, -2]]])
    for count, numbers in ((1, [0]), (2, [0, 3]), (4, [0, 1, 2, 3])):
        found = name_segments(maps, segments, count)
        np.testing.assert_array_equal(found, np.isin(segments, numbers))


def test_the_attack_on_what_is_named_tells_the_truth_from_its_opposite():
    weights = np.abs(random_weights())
    weights[:, SIZE // 2 :] = 0
    model, rng = linear(weights), np.random.default_rng(2)
    # Patches of one colour each, which SLIC finds.
    images = rng.integers(60, 190, (4, 4, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    truth = np.broadcast_to(weights.sum(axis=2), (4, SIZE, SIZE))
    table = attack_named_segments(model, images, {"truth": truth, "opposite": -truth})
    falls = (table.logit - table.attacked).groupby([table.method, table.top]).mean()
    assert (falls["truth"] > falls["random segments"]).all()
    assert falls["opposite", 1] < 0.05 * falls["truth", 1]
    assert (falls.loc[:, 3] >= falls.loc[:, 1]).all() and len(table) == 3 * 2 * 4
    np.testing.assert_allclose(table.logit, np.tile(model.logits(images), 6), atol=1e-4)
    assert (table.area[table.top == 3].to_numpy() > table.area[table.top == 1].to_numpy()).all()


def test_faces_of_each_outcome_are_drawn_at_random_people_in_turns():
    faces = load_faces(scale=2.0)
    model = small_network(seed=2)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel, bias - np.median(Detector(model).logits(faces.images))])
    model = Detector(model)
    drawn = [draw_by_outcome(model, faces, 16, seed) for seed in (0, 0, 1)]
    assert drawn[0].table.video.tolist() == drawn[1].table.video.tolist()
    assert drawn[0].table.video.tolist() != drawn[2].table.video.tolist()
    one = drawn[0]
    np.testing.assert_allclose(one.table.logit, model.logits(one.images), atol=1e-4)
    expected = [OUTCOMES[(2 if label == 0 else 0) + ((logit > 0) == (label == 0))]
                for label, logit in zip(one.labels, one.table.logit)]  # fmt: skip
    assert one.table.outcome.tolist() == expected
    groups = one.table.groupby("outcome")
    assert (groups.size() <= 16).all() and set(groups.groups) == set(OUTCOMES)
    whole = draw_by_outcome(model, faces, len(faces)).table.groupby("outcome")
    people = whole.target.nunique().clip(upper=16)
    assert (groups.target.nunique() == people[groups.target.nunique().index]).all()
    # Not those with the highest logits.
    best = whole.logit.nlargest(16)["found"].mean()
    assert groups.logit.mean()["found"] < best


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_stays_in_its_area_and_sets_in_softly(kind):
    rng = np.random.default_rng(0)
    images = rng.normal(120, 8, (2, SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
    areas = np.zeros((2, SIZE, SIZE), bool)
    areas[:, 6:26, 8:28] = True
    edited = edit(images, areas, kind).astype(float)
    assert (edited[~areas] == images[~areas]).all()
    apart, deep = edited - images, np.s_[:, 6 + EDGE : 26 - EDGE, 8 + EDGE : 28 - EDGE]
    assert np.abs(apart).max() > 0
    if kind == "brightened":
        np.testing.assert_allclose(apart[deep], 0.15 * images[deep], atol=0.51)
        edge = np.abs(apart[:, 6, 8:28]).mean()
        assert 0.2 < edge / np.abs(apart[deep]).mean() < 0.5
    elif kind == "pasted":
        assert np.abs(apart).mean() < 1
    else:
        assert edited[deep].std() < 0.9 * images[deep].std()


def test_an_unknown_edit_is_told():
    with pytest.raises(UserError, match="No edit 'cut'"):
        edit(greys(), np.ones((3, SIZE, SIZE), bool), "cut")


def test_a_map_that_shows_the_edit_scores_higher_after_it_than_before():
    faces = load_faces(scale=2.0)
    faces = faces[np.flatnonzero(faces.labels == 0)[::20]]
    weights = np.full((128, 128, 3), 1e-4, np.float32)
    base = {}

    def apart(detector, images):
        own = base.setdefault("own", images[: len(faces)]).astype(float)
        return np.abs(images - np.tile(own, (len(images) // len(own), 1, 1, 1))).sum(axis=3) + 1e-9

    def blind(detector, images):
        return np.broadcast_to(np.random.default_rng(0).random((128, 128)), images.shape[:3])

    table = harmless_edits(linear(weights), faces, {"apart": apart, "blind": blind})
    own = table[table.method == "apart"]
    assert (own.auc > 0.6).all() and (own.mass > 0.95).all()
    np.testing.assert_allclose(own.auc_before, 0.5)
    blind = table[table.method == "blind"]
    np.testing.assert_array_equal(blind.mass, blind.mass_before)
    bright = table[(table.edit == "brightened") & (table.method == "none")]
    assert (bright.logit_edited > bright.logit).all() and (bright.changed > 5).all()
    assert len(table) == 3 * len(EDITS) * len(faces) and table.mass.isna().sum() == len(table) / 3


def test_turns_are_turns_and_have_their_controls():
    rows = np.linspace(-0.01, 0.01, SIZE)[:, None, None]
    model = linear(np.broadcast_to(rows, (SIZE, SIZE, 3)).astype(np.float32))  # low is fake
    faces = load_faces(scale=2.0)[[0, 1]]
    faces.images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    faces.images[:, SIZE // 2 :] //= 4
    table = turned_verdicts(model, faces)
    assert [*table.degrees] == [d for d in (*QUARTERS, *TURNS) for _ in range(2)]
    for degrees, group in table.groupby("degrees"):
        turned = rotation(degrees).apply(faces.images)
        np.testing.assert_allclose(group.logit, model.logits(turned), atol=1e-3)
        control = faces.images
        if degrees in TURNS:
            control = rotation(-degrees).apply(turned)
        np.testing.assert_allclose(group.upright, model.logits(control), atol=1e-3)
    upside = table[table.degrees == 180]
    np.testing.assert_allclose(upside.logit, -upside.upright, atol=1e-3)
