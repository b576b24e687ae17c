"""The experiment finds the evidence of detectors that are known in closed form."""

from itertools import combinations

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from keras import ops
from scipy.ndimage import gaussian_filter1d
from scipy.stats import rankdata

from xaifake.data.dataset import Faces
from xaifake.detector import Detector, sample_true_positives
from xaifake.errors import UserError
from xaifake.judge.faithfulness import (
    FILLS,
    PatchEffects,
    best_order,
    cell_numbers,
    cell_sums,
    deletion,
    fill,
    impute,
    insertion,
    order_cells,
    patch_effects,
    region_effects,
    restore_cells,
    road,
    score_against_effects,
    shapley_cells,
)
from xaifake.judge.localisation import REGIONS, region_masks

SIZE, SIDE, CELLS = 32, 8, 16  # a picture of 4 x 4 cells of 8 x 8 pixels


def linear_detector(size=SIZE, seed=0):
    """Return a detector that adds up weighted pixels, and the weights (size, size, 3)."""
    weights = np.random.default_rng(seed).normal(0, 0.1, (size, size, 3)).astype(np.float32)
    inputs = keras.Input((size, size, 3))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
    model.set_weights([weights.reshape(-1, 1), np.array([0.3])])
    return Detector(model), weights.astype(float)


def whiteness_detector(combine):
    """Return a detector whose logit is made of how white, 0 to 1, each of the 16 cells is."""
    inputs = keras.Input((SIZE, SIZE, 3))
    white = keras.layers.AveragePooling2D(SIDE)(inputs)[..., 0]
    white = ops.reshape(white, (-1, CELLS)) / 2 + 0.5
    return Detector(keras.Model(inputs, combine(lambda number: white[:, number : number + 1])))


def noise_faces(count=3, size=SIZE, seed=0):
    """Return fakes of noise with different masks, equal to their originals outside."""
    rng = np.random.default_rng(seed)
    originals, swapped = rng.integers(0, 256, (2, count, size, size, 3), dtype=np.uint8)
    masks = np.zeros((count, size, size), dtype=bool)
    for n in range(count):
        masks[n, 5 : 17 + 4 * n, 9 - n : 27] = True
    images = np.where(masks[..., None], swapped, originals)
    table = pd.DataFrame({"target": [f"{n:03d}" for n in range(count)]})
    return Faces(images, np.ones(count, dtype=np.int64), masks, originals, table, 1.3)


def black_and_white(*numbers):
    """Return one fake with white cells, whose original is black."""
    mask = np.isin(np.arange(CELLS).reshape(1, 4, 4), numbers).repeat(SIDE, 1).repeat(SIDE, 2)
    image = (mask[..., None] * np.full(3, 255)).astype(np.uint8)
    table = pd.DataFrame({"target": ["000"]})
    return Faces(image, np.array([1]), mask, np.zeros_like(image), table, 1.3)


def squares(size=SIZE, cell=SIDE):
    """List the cells as slices, row by row."""
    starts = range(0, size, cell)
    return [(slice(y, y + cell), slice(x, x + cell)) for y in starts for x in starts]


def random_orders(count, seed=0):
    return np.random.default_rng(seed).permuted(np.tile(np.arange(CELLS), (count, 1)), axis=1)


def mixed_pictures(images, others, orders, share):
    """Put cells of the others into the pictures one after the other, up to a share."""
    mixed = images.copy()
    for n, order in enumerate(orders):
        for number in order[: round(share * CELLS)]:
            rows, columns = squares()[number]
            mixed[n, rows, columns] = others[n, rows, columns]
    return mixed


@pytest.mark.parametrize("cell", [4, 8, 16])
def test_of_a_linear_detector_a_cell_removes_what_it_gives_and_that_is_its_difference(cell):
    (model, weights), faces = linear_detector(), noise_faces()
    maps = patch_effects(model, faces, cell, progress=False)
    terms = weights * (faces.images.astype(float) - faces.originals) / 127.5
    expected = np.array([[t[where].sum() for where in squares(SIZE, cell)] for t in terms])
    expected = expected.reshape(3, SIZE // cell, SIZE // cell)
    for found in (maps.removal, maps.insertion, maps.effect):
        np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(maps.fake - maps.original, terms.sum((1, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(maps.effect.sum((1, 2)), maps.fake - maps.original, atol=1e-3)
    all_values = (maps.fake, maps.original, maps.removal, maps.insertion)
    assert all(values.dtype == np.float64 for values in all_values) and maps.changed.dtype == bool


@pytest.mark.parametrize(
    "combine, cells, removed, given_alone",
    [
        (lambda white: ops.maximum(white(3), white(9)), (3, 9), 0, 1),
        (lambda white: ops.minimum(white(3), white(9)), (3, 9), 1, 0),
        (lambda white: white(3) * white(9), (3, 9), 1, 0),
        # Shapley's value of each of three would be 1/3: the first and the last place are two.
        (lambda white: ops.maximum(ops.maximum(white(3), white(9)), white(4)), (3, 4, 9), 0, 1),
    ],
    ids=["either", "both", "product", "any of three"],
)
def test_cells_that_share_their_evidence_have_half_of_it_each(combine, cells, removed, given_alone):
    maps = patch_effects(whiteness_detector(combine), black_and_white(3, 4, 9, 12), progress=False)
    shared = np.isin(np.arange(CELLS), cells).reshape(1, 4, 4)
    np.testing.assert_allclose(maps.removal, removed * shared, atol=1e-5)
    np.testing.assert_allclose(maps.insertion, given_alone * shared, atol=1e-5)
    np.testing.assert_allclose(maps.effect, shared / 2, atol=1e-5)


@pytest.mark.parametrize("a, b, both", [(2.0, 3.0, -1.5), (0.5, -1.0, 4.0), (1.0, 1.0, -1.0)])
def test_the_effects_of_two_cells_are_shapleys_values(a, b, both):
    model = whiteness_detector(lambda w: a * w(0) + b * w(6) + both * w(0) * w(6))
    effect = patch_effects(model, black_and_white(0, 6), progress=False).effect.ravel()
    # What both make together is divided in halves.
    assert effect[[0, 6]] == pytest.approx([a + both / 2, b + both / 2], abs=1e-5)


def test_cells_that_the_mask_does_not_touch_are_not_tried(monkeypatch):
    faces, seen, counted = noise_faces(), [], []
    faces.images = np.random.default_rng(1).integers(0, 256, faces.images.shape, dtype=np.uint8)
    faces.masks[:] = False
    faces.masks[0, 7, 7] = faces.masks[1, 8, 8] = True  # a single pixel touches its cell
    faces.masks[1, 8, 31] = True

    answer = Detector.predictor

    def recorded(detector, count):
        counted.append(count)
        return lambda images: seen.append(images) or answer(detector, count)(images)

    monkeypatch.setattr(Detector, "predictor", recorded)
    maps = patch_effects(linear_detector()[0], faces, progress=False)
    assert [np.flatnonzero(one).tolist() for one in maps.changed] == [[0], [5, 7], []]
    assert [len(images) for images in seen] == [4, 6, 2]  # both ends, and two for each cell
    assert counted == [12]
    for values in (maps.removal, maps.insertion, maps.effect):
        assert not values[~maps.changed].any() and values[maps.changed].all()
    rows, columns = squares()[0]
    tried = [faces.images[0].copy(), faces.originals[0].copy()]
    tried[0][rows, columns], tried[1][rows, columns] = (
        faces.originals[0][rows, columns],
        faces.images[0][rows, columns],
    )
    np.testing.assert_array_equal(seen[0][2:], tried)


@pytest.mark.parametrize("cell", [0, -8, 5, 64])
def test_cells_that_do_not_fill_the_picture_are_refused(cell):
    (model, _), faces, orders = linear_detector(), noise_faces(), random_orders(3)
    for act in (
        lambda: cell_numbers(SIZE, SIZE, cell),
        lambda: cell_sums(faces.masks, cell),
        lambda: patch_effects(model, faces, cell, progress=False),
        lambda: restore_cells(model, faces, orders, cell=cell),
        lambda: deletion(model, faces.images, orders, "grey", cell=cell),
    ):
        with pytest.raises(UserError, match=f"cell={cell}: give a divisor of .* 32 x 32 pixels"):
            act()


def test_faces_without_twins_are_refused():
    (model, _), faces = linear_detector(), noise_faces()
    maps = patch_effects(model, faces, progress=False)
    faces.originals = None
    for act in (
        lambda: patch_effects(model, faces),
        lambda: region_effects(model, faces),
        lambda: best_order(model, faces, maps),
        lambda: restore_cells(model, faces, random_orders(3)),
    ):
        with pytest.raises(UserError, match="no originals: extract them with originals=True"):
            act()


def test_of_a_linear_detector_a_region_takes_its_difference_with_it(shipped_faces):
    faces = shipped_faces(1.3)
    faces = faces[np.flatnonzero(faces.labels == 1)[::60]]
    model, weights = linear_detector(faces.images.shape[1])
    effects = region_effects(model, faces)
    terms = (weights * (faces.images.astype(float) - faces.originals) / 127.5).sum(-1)
    np.testing.assert_allclose(effects.gap, terms.sum((1, 2)), atol=1e-3)
    np.testing.assert_allclose(effects.logit, model.logits(faces.images), atol=1e-4)
    masks = region_masks(faces)
    for name, region in masks.items():
        expected = (terms * region).sum((1, 2))
        for way in ("without", "last", "shapley"):
            np.testing.assert_allclose(effects[f"{way}_{name}"], expected, atol=1e-3)
    both = effects.without_nose + effects.without_mouth
    np.testing.assert_allclose(effects.without_nose_mouth, both, atol=1e-3)
    # The regions are the whole picture.
    together = effects[[f"without_{name}" for name in REGIONS]].sum(axis=1)
    np.testing.assert_allclose(together, effects.gap, atol=1e-2)


def test_the_rest_is_as_large_as_nose_and_mouth_and_neither(shipped_faces):
    faces = shipped_faces(2.0)
    faces = faces[np.flatnonzero(faces.labels == 1)[::12]]
    faces.originals, faces.images = np.zeros_like(faces.images), np.full_like(faces.images, 255)
    flat = keras.Sequential([keras.Input((128, 128, 3)), keras.layers.GlobalAveragePooling2D()])
    flat.add(keras.layers.Dense(1, kernel_initializer="ones"))  # counts what is white
    effects, regions = region_effects(Detector(flat), faces), region_masks(faces)
    both = (regions["nose"] | regions["mouth"]) & faces.masks
    enough = (both.sum((1, 2)) <= (faces.masks & ~both).sum((1, 2))) & both.any((1, 2))
    assert 0 < enough.sum() < len(faces)
    np.testing.assert_array_equal(effects.without_rest.notna(), enough)
    lost = 6 * both.mean((1, 2))[enough]  # from white to black the sum of three colours falls by 6
    np.testing.assert_allclose(effects.without_rest[enough], lost, atol=1e-4)


@pytest.mark.parametrize("combine, shares", [
    (lambda w: w(3) * w(9) * w(4), (1 / 3, 1 / 3, 1 / 3)),
    (lambda w: ops.maximum(w(3), w(9) * w(4)), (2 / 3, 1 / 6, 1 / 6)),
    (lambda w: w(3) + 2 * w(9), (1, 2, 0)),
])  # fmt: skip
def test_shapleys_values_of_cells_are_those_of_the_formula(combine, shares):
    faces = black_and_white(3, 9, 4)
    halves = shapley_cells(whiteness_detector(combine), faces, orders=400)
    values = halves.mean(axis=0).ravel()
    np.testing.assert_allclose(values[[3, 9, 4]], shares, atol=0.06)
    assert values.sum() == pytest.approx(sum(shares), abs=1e-5)
    assert np.count_nonzero(values) <= 3
    np.testing.assert_allclose(halves.sum((2, 3)), sum(shares), atol=1e-5)


@pytest.mark.parametrize("orders", [0, 2, 6])
def test_orders_come_in_two_halves_of_pairs(orders):
    with pytest.raises(UserError, match="a multiple of four"):
        shapley_cells(whiteness_detector(lambda w: w(3)), black_and_white(3), orders=orders)


def test_imputed_pixels_are_those_of_quantus():
    from quantus.functions.perturb_func import noisy_linear_imputation

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 20, 3), dtype=np.uint8)
    removed = rng.random((16, 20)) < 0.4
    removed[:3, :4] = True  # a corner too
    theirs = noisy_linear_imputation(
        image.transpose(2, 0, 1).astype(float), np.flatnonzero(removed), noise=0.0
    )
    own = impute(image[None], removed[None], noise=0.0)[0]
    np.testing.assert_allclose(own, np.reshape(theirs, (3, 16, 20)).transpose(1, 2, 0), atol=0.51)
    np.testing.assert_array_equal(own[~removed], image[~removed])
    noisy = impute(image[None], removed[None]).astype(float)[0] - own
    assert noisy[removed].std() == pytest.approx(2.55, rel=0.2)


def test_a_linear_slope_survives_imputation_and_so_does_its_logit():
    model, _ = linear_detector()
    slope = np.broadcast_to(np.arange(SIZE)[:, None, None] * 4, (SIZE, SIZE, 3)).astype(np.uint8)
    orders = np.r_[[5, 6, 9, 10], np.setdiff1d(np.arange(CELLS), [5, 6, 9, 10])][None]
    logits = road(model, slope[None], orders, (0.0, 0.25))
    assert abs(np.diff(logits[0])[0]) < 0.2  # the noise's, of 2.5 grey levels
    grey = deletion(model, slope[None], orders, "grey", (0.25,))
    assert abs(grey - logits[:, 0])[0, 0] > 0.3


def test_cells_are_numbered_row_by_row():
    expected = [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2
    assert cell_numbers(4, 6, 2).tolist() == expected


@pytest.mark.parametrize("cell", [1, 4, 8])
def test_sums_over_cells_are_those_of_a_loop_and_lose_nothing(cell):
    heatmaps = np.random.default_rng(0).normal(size=(2, 24, 32))
    sums, numbers = cell_sums(heatmaps, cell), cell_numbers(24, 32, cell)
    assert sums.shape == (2, 24 // cell, 32 // cell)
    for heatmap, found in zip(heatmaps, sums, strict=True):
        expected = [heatmap[numbers == number].sum() for number in range(numbers.max() + 1)]
        np.testing.assert_allclose(found.ravel(), expected)
    np.testing.assert_allclose(sums.sum((1, 2)), heatmaps.sum((1, 2)))
    counted = cell_sums(heatmaps > 0, cell)
    assert counted.sum() == (heatmaps > 0).sum()


@given(st.integers(0, 10**6), st.integers(0, 4), st.integers(0, 5))
@settings(max_examples=40)
def test_orders_go_down_and_name_each_cell_once(number, most, seed):
    scores = np.random.default_rng(number).integers(-1, most, (2, 3, 3)).astype(float)
    orders = order_cells(scores, seed)
    for flat, order in zip(scores.reshape(2, 9), orders, strict=True):
        assert sorted(order) == list(range(9))
        assert (np.diff(flat[order]) <= 0).all()
    # Alike whatever faces come after.
    np.testing.assert_array_equal(orders[:1], order_cells(scores[:1], seed))


def test_equal_cells_come_in_a_random_order_that_the_seed_decides():
    uniform = np.zeros((4000, 2, 2))
    orders = order_cells(uniform)
    np.testing.assert_array_equal(orders, order_cells(uniform))
    assert (orders != order_cells(uniform, seed=1)).mean() > 0.7  # 3/4 of the places by chance
    # Each cell comes first, second and so on in a quarter of the faces, 4 deviations of 0.7 %.
    for place in orders.T:
        assert np.bincount(place, minlength=4) / 4000 == pytest.approx(0.25, abs=0.028)
    ties = order_cells(np.tile([[5.0, 1.0], [1.0, 7.0]], (400, 1, 1)))
    assert (ties[:, :2] == [3, 0]).all() and np.mean(ties[:, 2] == 1) == pytest.approx(0.5, abs=0.1)


def test_the_best_order_of_a_linear_detector_is_that_of_the_effects():
    (model, weights), faces = linear_detector(), noise_faces()
    maps = patch_effects(model, faces, progress=False)
    orders = best_order(model, faces, maps, shares=(0.1, 0.25, 0.5))
    terms = weights * (faces.images.astype(float) - faces.originals) / 127.5
    for order, term in zip(orders, terms, strict=True):
        effect = np.array([term[where].sum() for where in squares()])
        assert sorted(order) == list(range(CELLS))
        # Only cells outside the mask have no effect; they stand between help and harm at random.
        kept = order[effect[order] != 0]
        assert kept.tolist() == [n for n in np.argsort(-effect) if effect[n] != 0]
        assert (np.diff(np.sign(effect[order])) <= 0).all()


PLAYING = (0, 1, 2, 7, 9, 12)
TWO_TO_SIX = tuple(np.arange(2, 7) / CELLS)


def both_of_two(white):
    pairs = 4 * ops.minimum(white(0), white(1)) + 3 * white(2) * white(7)
    return pairs + 2.5 * white(9) + white(12)


def either_of_two(white):
    pair = 4 * ops.maximum(white(0), white(1))
    return pair + white(2) + white(7) + 0.5 * white(9) + 0.25 * white(12)


def put_back_in_orders(combine):
    """Put two to six cells back: in the best order, by their effects, and at random."""
    model, faces = whiteness_detector(combine), black_and_white(*PLAYING)
    maps = patch_effects(model, faces, progress=False)
    orders = [best_order(model, faces, maps, TWO_TO_SIX), order_cells(maps.effect)]
    orders = np.concatenate([*orders, random_orders(100)])
    logits = restore_cells(model, faces[np.zeros(102, dtype=int)], orders, TWO_TO_SIX)
    return logits[0], logits[1], logits[2:]


@pytest.mark.parametrize("combine", [both_of_two, either_of_two])
def test_the_best_order_is_better_than_chance_and_nowhere_worse_than_that_of_the_effects(combine):
    best, by_effect, chance = put_back_in_orders(combine)
    assert (best <= by_effect + 1e-5).all(), f"{best} against {by_effect}"
    assert (best < chance.mean(axis=0) - 0.1).all()


def test_where_cells_need_each_other_no_three_cells_or_more_beat_the_best_order():
    best, by_effect, chance = put_back_in_orders(both_of_two)
    # The first two are chosen by their effects, and 2.5 + 4 are gone. With one cell of the other
    # pair 3 more go; the effects know nothing of pairs and take both of the first.
    assert best[:2] == pytest.approx([4, 1], abs=1e-5)
    assert by_effect[:2] == pytest.approx([4, 4], abs=1e-5)
    assert (best[1:] <= chance[:, 1:] + 1e-5).all()
    weights = {(0, 1): 4, (2, 7): 3, (9,): 2.5, (12,): 1}
    for count, logit in enumerate(best[1:], 3):
        rests = [set(PLAYING) - set(chosen) for chosen in combinations(PLAYING, count)]
        left = [sum(w for cells, w in weights.items() if rest.issuperset(cells)) for rest in rests]
        assert logit == pytest.approx(min(left), abs=1e-5)


def test_cells_are_put_back_in_the_given_order_from_the_fake_to_the_original():
    (model, _), faces, orders = linear_detector(), noise_faces(), random_orders(3)
    shares = (0, 0.05, 0.1, 0.2, 0.6, 1)
    logits = restore_cells(model, faces, orders, shares)
    assert logits.dtype == np.float64
    np.testing.assert_array_equal(
        mixed_pictures(faces.images, faces.originals, orders, 1), faces.originals
    )
    for share, column in zip(shares, logits.T, strict=True):
        mixed = mixed_pictures(faces.images, faces.originals, orders, share)
        np.testing.assert_allclose(column, model.logits(mixed), atol=1e-5)


@pytest.mark.parametrize("name", FILLS)
def test_cells_are_deleted_and_inserted_in_the_given_order(name):
    (model, _), images, orders = linear_detector(), noise_faces().images, random_orders(3)
    filling, shares = fill(images, name), (0, 0.1, 0.4, 1)
    without = deletion(model, images, orders, name, shares)
    alone = insertion(model, images, orders, name, shares)
    for k, share in enumerate(shares):
        mixed = mixed_pictures(images, filling, orders, share)
        np.testing.assert_allclose(without[:, k], model.logits(mixed), atol=1e-5)
        mixed = mixed_pictures(filling, images, orders, share)
        np.testing.assert_allclose(alone[:, k], model.logits(mixed), atol=1e-5)


@pytest.mark.parametrize("name", FILLS)
def test_deleting_some_is_inserting_the_rest_from_the_other_end(name):
    (model, _), images, orders = linear_detector(), noise_faces().images, random_orders(3)
    shares = np.array([0, 0.1, 0.25, 0.4, 0.7, 1])
    without = deletion(model, images, orders, name, shares)
    rest = insertion(model, images, orders[:, ::-1], name, 1 - shares)
    np.testing.assert_allclose(without, rest, atol=1e-5)


def test_fills_are_mid_grey_and_a_gaussian_blur_within_each_picture_and_colour():
    images = noise_faces(size=48).images
    before = images.copy()
    grey, blurred = fill(images, "grey"), fill(images, "blur")
    assert grey.dtype == blurred.dtype == np.uint8
    assert grey.shape == images.shape and (grey == 128).all()
    for n, colour in np.ndindex(3, 3):
        picture = images[n, ..., colour].astype(float)
        expected = gaussian_filter1d(gaussian_filter1d(picture, 4, axis=1), 4, axis=0)
        assert np.abs(blurred[n, ..., colour] - expected).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(images, before)


def test_unknown_fills_are_refused():
    (model, _), images = linear_detector(), noise_faces().images
    for act in (
        lambda: fill(images, "black"),
        lambda: deletion(model, images, random_orders(3), "black"),
        lambda: insertion(model, images, random_orders(3), "black"),
    ):
        with pytest.raises(UserError, match="No fill 'black': give grey or blur"):
            act()


def random_effects(count=3, seed=0):
    """Return the result of an experiment, made up, with effects in the mask alone."""
    removed, given_alone = np.random.default_rng(seed).normal(size=(2, count, 4, 4))
    changed = np.zeros((count, 4, 4), dtype=bool)
    changed[:, 1:3, :3] = True
    zeros = np.zeros(count)
    return PatchEffects(zeros + 3, zeros - 2, removed * changed, given_alone * changed, changed)


def in_pixels(cells):
    return cells.astype(float).repeat(SIDE, axis=1).repeat(SIDE, axis=2)


def test_a_map_that_is_the_effect_scores_one_wherever_in_a_cell_and_its_negative_minus_one():
    effects = random_effects()
    np.testing.assert_allclose(score_against_effects(in_pixels(effects.effect), effects), 1)
    np.testing.assert_allclose(score_against_effects(-in_pixels(effects.effect), effects), -1)
    points = np.zeros((3, SIZE, SIZE))
    points[:, 5::SIDE, 2::SIDE] = effects.effect
    np.testing.assert_allclose(score_against_effects(points, effects), 1)


def test_scores_are_rank_correlations_over_all_cells_and_over_those_of_the_mask():
    effects, heatmaps = random_effects(), np.random.default_rng(1).normal(size=(3, SIZE, SIZE))
    scores = score_against_effects(heatmaps, effects)
    assert list(scores) == ["patch_effect", "patch_effect_inside", "patch_effect_residual"]
    sums = np.array([[heatmap[where].sum() for where in squares()] for heatmap in heatmaps])
    for n, row in scores.iterrows():
        effect, inside = effects.effect[n].ravel(), effects.changed[n].ravel()
        for found, which in ((row.patch_effect, slice(None)), (row.patch_effect_inside, inside)):
            ranks = rankdata(sums[n][which]), rankdata(effect[which])
            assert found == pytest.approx(np.corrcoef(*ranks)[0, 1])


@pytest.mark.filterwarnings("error")
def test_what_all_maps_have_in_common_has_no_residual():
    effects = random_effects()
    blob = np.broadcast_to(np.random.default_rng(1).normal(size=(SIZE, SIZE)), (3, SIZE, SIZE))
    scores = score_against_effects(blob, effects)
    assert scores.patch_effect_residual.isna().all() and scores.patch_effect.notna().all()
    # Nearly all of each map is common to all, and what is left is the effect's own.
    sizes = np.abs(effects.effect).mean(axis=(1, 2), keepdims=True)
    common = 100 * cell_sums(blob)  # so large that the maps' sizes hardly differ
    own = np.repeat(np.repeat(common + effects.effect / sizes, SIDE, 1), SIDE, 2)
    scores = score_against_effects(own, effects)
    assert (scores.patch_effect_residual > scores.patch_effect.abs() + 0.3).all()


@pytest.mark.filterwarnings("error")
def test_a_map_that_is_the_same_everywhere_has_no_score():
    for value in (0, 0.1, 1 / 3, -7.3):
        scores = score_against_effects(np.full((3, SIZE, SIZE), value), random_effects())
        assert scores.isna().all(axis=None)


@pytest.mark.filterwarnings("error")
def test_knowing_where_the_mask_is_says_nothing_about_what_is_in_it():
    effects = random_effects()
    effects.removal, effects.insertion = np.abs(effects.removal), np.abs(effects.insertion)
    scores = score_against_effects(in_pixels(effects.changed), effects)
    assert (scores.patch_effect > 0.7).all() and scores.patch_effect_inside.isna().all()


@given(st.floats(1e-30, 1e30))
@settings(max_examples=30)
def test_a_positive_factor_does_not_change_a_score(factor):
    effects, heatmaps = random_effects(), np.random.default_rng(1).normal(size=(3, SIZE, SIZE))
    scores = score_against_effects(heatmaps, effects)
    pd.testing.assert_frame_equal(score_against_effects(factor * heatmaps, effects), scores)


@pytest.fixture(scope="module")
def detector(shipped_detector):
    return shipped_detector(2.0)


@pytest.fixture(scope="module")
def fakes(detector, shipped_faces):
    faces = shipped_faces(2.0)
    some = faces[np.flatnonzero(faces.labels == 1)[::8][:32]]
    return sample_true_positives(detector, some, count=4)[:3]


def test_the_shipped_detectors_evidence_lies_in_the_masks(detector, fakes):
    inside = cell_sums(fakes.masks) > 0
    effects = region_effects(detector, fakes)
    # The n-th column puts back the share that the n-th face's mask has.
    logits = restore_cells(detector, fakes, order_cells(inside.astype(float)), inside.mean((1, 2)))
    lost = detector.logits(fakes.images) - np.diag(logits)
    assert (effects.gap > 1).all()
    assert lost.sum() > 0.9 * effects.gap.sum()
    # What is left is the compression's, which differs outside as well.
    assert (lost > 0.7 * effects.gap).all()
    assert abs(effects.without_outside.sum()) < 0.1 * effects.gap.sum()


def test_the_causal_map_of_the_shipped_detector_lies_in_the_mask(detector, fakes):
    largest = fakes[int(fakes.masks.mean((1, 2)).argmax())]
    maps = patch_effects(detector, largest, cell=16, progress=False)
    np.testing.assert_array_equal(maps.changed, cell_sums(largest.masks, 16) > 0)
    assert not maps.effect[~maps.changed].any() and maps.effect[maps.changed].all()
    ends = [detector.logits(images)[0] for images in (largest.images, largest.originals)]
    np.testing.assert_allclose([maps.fake[0], maps.original[0]], ends, atol=1e-3)
