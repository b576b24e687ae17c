"""The cue lies where its mask says, alone decides the label, and is found by who looks for it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from xaifake.data import load_faces
from xaifake.data.dataset import Faces
from xaifake.detector import Detector
from xaifake.errors import UserError
from xaifake.judge import planted
from xaifake.judge.planted import (
    PlantedBatches,
    detection,
    plant,
    score_planted,
    small_network,
    split_people,
    sweep,
    train_planted,
)
from xaifake.judge.runner import MethodConfig

SIZE = 128


def pictures(count, height=24, width=32, low=70, high=186, seed=0):
    """Return pictures of noise; by default none that 70 grey levels more or less would clip."""
    shape = (count, height, width, 3)
    return np.random.default_rng(seed).integers(low, high, shape, dtype=np.uint8)


def faces_of(people, size=SIZE):
    """Make a real and a fake face for each name; real ones are dark, fakes bright."""
    table = pd.DataFrame({"target": np.repeat(people, 2)})
    labels = np.tile([0, 1], len(people))
    images = np.full((len(table), size, size, 3), 60, np.uint8)
    images[labels == 1] = 190
    return Faces(images, labels, np.zeros(images.shape[:3], bool), None, table, 2.0)


def places(masks):
    """Return the first row and column and the height and width of each mask."""
    found = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        found.append((rows[0], columns[0], np.ptp(rows) + 1, np.ptp(columns) + 1))
    return np.array(found)


@given(
    st.lists(st.tuples(st.integers(1, 24), st.integers(0, 70)), min_size=1, max_size=6),
    st.integers(0, 999),
)
def test_the_masked_pixels_change_by_the_contrast_and_no_other_does(cues, seed):
    sizes, contrasts = np.array(cues).T
    images = pictures(len(cues))
    before = images.copy()
    planted, masks = plant(images, sizes, contrasts, seed)
    np.testing.assert_array_equal(images, before)
    assert (planted.dtype, planted.shape) == (np.uint8, images.shape)
    assert (masks.dtype, masks.shape) == (bool, images.shape[:3])
    change = planted.astype(int) - images
    assert not change[~masks].any()
    for one, mask, contrast in zip(change, masks, contrasts, strict=True):
        assert (np.abs(one[mask]) == contrast).all()


@given(st.lists(st.integers(1, 24), min_size=1, max_size=6), st.integers(0, 999))
def test_the_mask_is_a_square_of_that_size_inside_the_picture(sizes, seed):
    _, masks = plant(pictures(len(sizes)), sizes, 8, seed)
    for size, mask, (_, _, height, width) in zip(sizes, masks, places(masks), strict=True):
        assert height == width == size
        assert mask.sum() == size**2


@pytest.mark.parametrize("size", [1, 3, 4, 7, 8, 16, 24])
def test_the_patch_is_chequered_in_squares_of_two_pixels(size):
    images = pictures(5)
    planted, masks = plant(images, size, 10)
    side = np.arange(size) // 2
    pattern = np.where((side[:, None] + side) % 2, -10, 10)
    assert size % 4 or not pattern.sum()  # on average no lighter or darker
    for one, (top, left, *_) in zip(planted.astype(int) - images, places(masks), strict=True):
        patch = one[top : top + size, left : left + size]
        assert (patch == pattern[..., None]).all()


def test_what_is_too_light_or_dark_is_clipped_and_half_levels_are_rounded():
    images = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (0, 5, 250, 255)])
    found = [np.unique(one).tolist() for one in plant(images, 8, 32)[0]]
    assert found == [[0, 32], [0, 37], [218, 255], [223, 255]]
    images = pictures(3)
    planted, masks = plant(images, 4, 2.5)
    change = np.abs(planted.astype(float) - images)[masks]
    assert (np.abs(change - 2.5) <= 0.5).all()


def test_the_places_are_spread_evenly_over_the_whole_picture():
    _, masks = plant(np.full((7000, 10, 14, 3), 128, np.uint8), 4, 8)
    rows, columns = places(masks)[:, :2].T
    counts = np.zeros((7, 11), int)
    np.add.at(counts, (rows, columns), 1)
    # 7000 draws of 77 places, 91 each with a standard deviation of 9.5.
    assert counts.min() > 91 - 5 * 9.5 and counts.max() < 91 + 5 * 9.5
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.06


def test_a_large_patch_reaches_the_edges_too():
    _, masks = plant(pictures(300, 12, 12), 10, 8)
    found = places(masks)[:, :2].tolist()
    assert {tuple(place) for place in found} == {(y, x) for y in range(3) for x in range(3)}
    planted, masks = plant(pictures(2, 12, 12), 12, 8)  # as large as the picture
    assert masks.all() and (planted != pictures(2, 12, 12)).all()


def test_the_same_seed_plants_at_the_same_places():
    images = pictures(8)
    one, other, third = (plant(images, 6, 20, seed) for seed in (3, 3, 4))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one[1] != third[1]).any()
    generator = plant(images, 6, 20, np.random.default_rng(3))
    np.testing.assert_array_equal(one[1], generator[1])
    # The place does not depend on the contrast or the picture.
    np.testing.assert_array_equal(one[1], plant(pictures(8, seed=5), 6, 60, seed=3)[1])


@pytest.mark.parametrize("size", [0, -3, 25, 33, [4, 4, 25], [0, 4, 4]])
def test_a_patch_that_does_not_fit_is_refused(size):
    with pytest.raises(UserError, match=r"size=-?\d+ to -?\d+: give 1 to 24 pixels"):
        plant(pictures(3), size, 8)


def test_the_small_network_has_12049_parameters():
    model = small_network()
    assert model.count_params() == 12049
    assert model.input_shape == (None, SIZE, SIZE, 3) and model.output_shape == (None, 1)
    assert model.layers[-1].activation.__name__ == "linear"


def test_the_small_network_comes_in_other_sizes_and_starts_from_its_seed():
    one, other, third = (small_network(32, seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    kernels = [(a, b) for a, b in zip(one, third, strict=True) if a.ndim > 1]
    assert len(kernels) == 10 and not any(np.array_equal(a, b) for a, b in kernels)
    assert sum(w.size for w in one) == 12049


@pytest.mark.parametrize("people, kept", [("bfaecd", "f"), ("abcdefgh", "gh")])
def test_faces_are_split_by_person_and_the_last_by_name_are_kept(people, kept):
    faces = faces_of([*people], size=8)
    train, test = split_people(faces)
    assert set(train.table.target) == {*people} - {*kept} and set(test.table.target) == {*kept}
    assert len(train) + len(test) == len(faces)


def test_no_person_of_the_shipped_faces_is_on_both_sides(shipped_faces):
    faces = shipped_faces(2.0)
    train, test = split_people(faces)
    assert not set(train.table.target) & set(test.table.target)
    assert test.table.target.nunique() == 4 and len(train) + len(test) == len(faces)
    assert max(train.table.target) < min(test.table.target)


def test_of_two_people_one_is_kept_and_one_person_alone_is_refused():
    train, test = split_people(faces_of(["b", "a"], size=8))
    assert set(train.table.target) == {"a"} and set(test.table.target) == {"b"}
    with pytest.raises(UserError, match="1 person: two are needed"):
        split_people(faces_of(["a"], size=8))


@pytest.fixture
def shown(monkeypatch):
    """Let whatever is planted be a black picture, and tell what was asked for."""
    asked = []

    def black(images, size, contrast, seed):
        asked.append((np.array(size), np.array(contrast)))
        return np.zeros_like(images), np.ones(images.shape[:3], bool)

    monkeypatch.setattr(planted, "plant", black)
    return asked


def batches(partly, steps=20, batch_size=16, seed=0, size=8):
    """Return of each batch: who is labelled, who has the cue and who is a fake."""
    data = PlantedBatches(faces_of(list("abcdef"), size), steps, batch_size, partly, seed)
    assert len(data) == steps
    for number in range(steps):
        images, labels = data[number]
        assert images.shape == (batch_size, size, size, 3) and labels.shape == (batch_size, 1)
        assert images.dtype == np.float32 and -1 <= images.min() and images.max() <= 1
        yield labels[:, 0] == 1, (images == -1).all(axis=(1, 2, 3)), images.mean((1, 2, 3)) > 0


def test_the_cue_alone_decides_the_label(shown):
    fakes, count = [], 0
    for labelled, cued, bright in batches(partly=False):
        np.testing.assert_array_equal(labelled, cued)
        assert labelled.sum() == 8
        fakes += bright[~cued].tolist()
        count += 1
    assert count == 20
    # Without the cue there are real faces and fakes alike.
    assert 0.35 < np.mean(fakes) < 0.65


def test_partly_the_label_is_the_faces_own_and_half_of_the_fakes_have_the_cue(shown):
    for labelled, cued, bright in batches(partly=True):
        assert labelled.sum() == 8
        assert cued.sum() == 4 and labelled[cued].all()
        # A cued one is black here: of the others the label is what the face is.
        np.testing.assert_array_equal(labelled[~cued], bright[~cued])
    # An odd batch can be planted partly too.
    data = PlantedBatches(faces_of(list("abc"), 8), 1, batch_size=9, partly=True)
    images, labels = data[0]
    assert len(images) == len(labels)


def test_cues_of_many_sizes_and_contrasts_are_planted(shown):
    for _ in batches(partly=False, steps=40, batch_size=32):
        pass
    sizes, contrasts = (np.concatenate(values) for values in zip(*shown, strict=True))
    assert set(sizes.tolist()) == set(range(6, 25))
    assert 8 <= contrasts.min() < 10 and 62 < contrasts.max() <= 64


@pytest.mark.parametrize("partly", [False, True])
def test_batches_are_the_same_each_time_and_each_another(partly, shipped_faces):
    faces = shipped_faces(2.0)[::7]

    def batch(number, seed=0):
        return PlantedBatches(faces, 9, 8, partly, seed)[number]

    for one, other in zip(batch(3), batch(3), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (batch(3)[0] != batch(4)[0]).any()
    assert (batch(3)[0] != batch(3, seed=1)[0]).any()


def test_the_cue_of_a_batch_is_a_patch_on_a_face(monkeypatch):
    """The same batch without anything planted differs in squares of half of the pictures."""
    faces = load_faces(scale=2.0)[::7]
    with_cue, labels = PlantedBatches(faces, 1, 8)[0]
    plain = plant

    def nothing(images, size, contrast, seed):
        return plain(images, size, 0, seed)

    monkeypatch.setattr(planted, "plant", nothing)
    without, _ = PlantedBatches(faces, 1, 8)[0]
    changed = (with_cue != without).any(axis=3)
    np.testing.assert_array_equal(changed.any(axis=(1, 2)), labels[:, 0] == 1)
    sides = places(changed[labels[:, 0] == 1])[:, 2:]
    assert 4 <= sides.min() and sides.max() <= 24  # a white or black part of it may be clipped


@pytest.mark.parametrize("steps", [300, 40, 25])
def test_each_step_sees_a_batch_of_its_own_and_each_tenth_tells_its_loss(steps):
    faces, seen = faces_of(list("abcdef"), 32), []

    def fit(data, **how):
        assert not how["shuffle"]
        seen.extend(data[number][0].tobytes() for number in range(len(data)))
        return SimpleNamespace(history={"loss": [len(seen)]})

    model = SimpleNamespace(compile=lambda *what: None, fit=fit)
    losses = train_planted(model, faces, steps=steps, batch_size=2)
    assert len(seen) == len(set(seen)) == steps
    assert losses[-1] == steps
    assert len(losses) == 10


def a_mask(size, top=30, left=50):
    masks = np.zeros((1, SIZE, SIZE), bool)
    masks[0, top : top + size, left : left + size] = True
    return masks


@pytest.mark.parametrize("size", [8, 16, 24])
def test_a_map_that_is_the_cue_scores_best(size):
    masks = a_mask(size)
    scores = score_planted(masks.astype(float), masks).loc[0]
    assert scores.mass == 1 and scores.pointing == 1
    assert scores.found
    assert score_planted(1e30 * masks, masks).loc[0].equals(scores)


@pytest.mark.parametrize("value", [1.0, 0.1, 3e5])
def test_a_map_that_is_the_same_everywhere_or_noise_scores_by_chance(value):
    masks = a_mask(16)
    scores = score_planted(np.full(masks.shape, value), masks).loc[0]
    assert scores.mass == pytest.approx(16**2 / SIZE**2)
    assert scores.pointing == pytest.approx(16**2 / SIZE**2)
    assert not scores.found
    masks = np.repeat(masks, 50, axis=0)
    scores = score_planted(np.random.default_rng(0).normal(size=masks.shape), masks)
    assert scores.mass.mean() == pytest.approx(16**2 / SIZE**2, abs=0.005)
    assert scores.found.mean() < 0.3


def test_a_map_that_lies_elsewhere_or_speaks_against_it_does_not_find_the_cue():
    masks = a_mask(16)
    elsewhere = score_planted(a_mask(16, 90, 90).astype(float), masks).loc[0]
    assert elsewhere.mass == elsewhere.pointing == 0 and not elsewhere.found
    against = score_planted(-masks.astype(float), masks).loc[0]
    assert np.isnan(against.mass) and not against.found


def test_evidence_of_both_signs_inside_the_cue_is_averaged():
    masks = a_mask(16)
    inside = np.where(np.indices((SIZE, SIZE)).sum(axis=0) % 2, 3.0, -1.0) * masks
    scores = score_planted(inside, masks).loc[0]
    # Half of the cue's pixels speak against it; its middle would be found in one place of two.
    assert scores.mass == 1 and scores.pointing == 1 and scores.found


def test_each_picture_is_scored_for_itself():
    masks = np.concatenate([a_mask(8), a_mask(16, 90, 20)])
    maps = np.stack([masks[0], masks[0]]).astype(float)
    scores = score_planted(maps, masks)
    assert list(scores) == ["mass", "pointing", "found"]
    assert scores.found.tolist() == [True, False] and scores.mass.tolist() == [1, 0]


@pytest.fixture(scope="module")
def trained(shipped_faces):
    """A small network, trained for seconds on cues that are easy to see, and unseen people."""
    train, test = split_people(shipped_faces(2.0))
    model = small_network()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planted, "TRAINED_SIZES", (16, 24))
        patch.setattr(planted, "TRAINED_CONTRASTS", (32, 64))
        losses = train_planted(model, train, steps=120, batch_size=16)
    assert losses[-1] < losses[0] / 2
    return Detector(model), test


def test_the_small_network_finds_the_cue_on_unseen_people(trained):
    auc, _, _, logits = detection(*trained, size=24, contrast=32)
    assert auc > 0.9
    assert np.mean(logits > 0) > 0.5


def test_detection_is_by_chance_where_nothing_is_planted(trained):
    auc, images, masks, logits = detection(*trained, size=24, contrast=0, seed=3)
    assert auc == pytest.approx(0.5)
    np.testing.assert_array_equal(images, trained[1].images)
    assert masks.sum(axis=(1, 2)).tolist() == [24**2] * len(logits)


@pytest.mark.parametrize("method", ["input_t_gradient", "lrp.sequential_preset_b_flat"])
def test_methods_find_the_cue(trained, method):
    model, test = trained
    _, images, masks, logits = detection(model, test, size=24, contrast=32)
    rows = np.flatnonzero(logits > 0)[:16]
    heatmaps, _ = MethodConfig(method).maps(model, images[rows])
    scores = score_planted(heatmaps, masks[rows])
    assert len(scores) == 16
    assert scores.found.mean() > 0.8 and scores.pointing.mean() > 0.8
    assert scores.mass.mean() > 5 * 24**2 / SIZE**2


@pytest.fixture
def swept(monkeypatch):
    """Sweep without training: the detector finds all cues but those of contrast 2."""
    trained = []

    def nothing(model, faces, partly, **how):
        trained.append((partly, how, set(faces.table.target)))

    def found(predict, clean, faces, size, contrast, seed):
        np.testing.assert_array_equal(clean, predict(faces.images))
        images, masks = plant(faces.images, size, contrast, seed)
        return size / 100, images, masks, np.full(len(images), contrast - 2.0)

    monkeypatch.setattr(planted, "train_planted", nothing)
    monkeypatch.setattr(planted, "_detection", found)
    faces = faces_of([f"{n:02}" for n in range(16)], 32)

    def run(**how):
        ways = {name: lambda model, images: (images.mean(axis=3), None) for name in ("a", "b")}
        return sweep(faces, ways, **how)

    return run, trained


def test_a_sweep_asks_every_method_where_the_detector_finds_the_cue(swept):
    run, trained = swept
    table = run(sizes=(4, 8, 16), contrasts=(2, 8, 32), steps=7)
    assert [partly for partly, *_ in trained] == [False, True]
    assert all(how == {"seed": 0, "steps": 7} for _, how, _ in trained)
    assert all(people == {f"{n:02}" for n in range(12)} for *_, people in trained)
    whole = table[~table.partly]
    # Eight faces of the last four people; the cue of contrast 2 is not found.
    assert whole.groupby(["method", "size", "contrast"]).size().to_dict() == {
        (method, size, contrast): 8
        for method in "ab"
        for size in (4, 8, 16)
        for contrast in (8, 32)
    }
    np.testing.assert_allclose(whole.detection, whole["size"] / 100)
    np.testing.assert_allclose(table.share, table["size"] ** 2 / 32**2)

    # Partly, fakes are asked at one size and contrast.
    partly = table[table.partly].groupby(["method", "size", "contrast"]).size()
    assert partly.to_dict() == {("a", 8, 32): 4, ("b", 8, 32): 4}


def test_a_sweep_of_one_size_and_contrast_is_one_too_and_of_no_found_cue_none(swept):
    run, _ = swept
    sizes = run(sizes=(8,), contrasts=(32,)).groupby(["method", "partly"]).size()
    assert sizes.to_dict() == {(e, partly): 4 if partly else 8 for e in "ab" for partly in (0, 1)}
    with pytest.raises(UserError, match="cue"):
        run(sizes=(4, 8), contrasts=(2,))
